import KeelsonCore
import Testing

@testable import KeelsonConfigurationRules

/// A rule for a key that is known to be well formed.
func rule(
  _ key: String, _ type: SettingType, _ change: (inout SettingRule) -> Void = { _ in }
) throws -> SettingRule {
  var rule = SettingRule(key: try #require(KeyPattern(key)), type: type)
  change(&rule)
  return rule
}

@Suite struct ConfigurationSchemaTests {
  @Test func theMostExactRuleCounts() throws {
    let schema = ConfigurationSchema(
      [
        try rule("Logging:**", .string), try rule("Logging:*:Level", .integer),
        try rule("Logging:Http:*", .boolean), try rule("Logging:Http:Level", .size),
      ], isClosed: true)
    #expect(schema.rule(for: "Logging:Http:Level")?.type == .size)
    #expect(schema.rule(for: "Logging:Http:Other")?.type == .boolean)
    #expect(schema.rule(for: "Logging:Store:Level")?.type == .integer)
    #expect(schema.rule(for: "Logging:A:B:C")?.type == .string)
    #expect(schema.rule(for: "Logging") == nil)
  }

  @Test func patternsOfManySectionsAreTold() throws {
    let long = Array(repeating: "a", count: 500).joined(separator: ":")
    let schema = ConfigurationSchema(
      [try rule("\(long):*", .string), try rule("*:\(long)", .integer)], isClosed: true)
    #expect(schema.rule(for: "\(long):b")?.type == .string)
    #expect(schema.rule(for: "b:\(long)")?.type == .integer)
    #expect(schema.rule(for: "a:\(long)")?.type == .string)
  }

  @Test(arguments: ["", ":", "a::b", "a b", "**:a", "a:**:b", ".a", "-a", "a*"])
  func otherTextsAreNoKeyPatterns(text: String) {
    #expect(KeyPattern(text) == nil)
  }

  @Test func everythingWrongWithASchemaIsTold() throws {
    let schema = ConfigurationSchema(
      [
        try rule("A", .boolean) { $0.minimum = .integer(1) },
        try rule("A", .integer),
        try rule("B", .integer) {
          $0.minimum = .integer(9)
          $0.maximum = .integer(1)
        },
        try rule("C", .integer) { $0.format = .uri },
        try rule("D", .string) {
          $0.minimumLength = 3
          $0.defaultValue = .string("x")
        },
        try rule("E:*", .string) { $0.isRequired = true },
        try rule("F", .string) {
          $0.isSensitive = true
          $0.defaultValue = .string("secret")
        },
        try rule("G", .object), try rule("G:Inner", .string),
        try rule("H", .duration) { $0.allowedValues = [.string("1s"), .string("often")] },
      ], isClosed: true)
    #expect(
      schema.problems().map(\.field) == [
        "rules[0].minimum", "rules[1].key", "rules[2].maximum", "rules[3].format",
        "rules[4].default_value", "rules[5].required", "rules[6].default_value", "rules[8].key",
        "rules[9].allowed_values[1]",
      ])
    #expect(!schema.problems().map(\.message).joined().contains("secret'"))
  }
}
