import KeelsonCore
import Testing

@testable import KeelsonConfigurationRules

@Suite struct ValidationBudgetTests {
  /// 900 places of 25 characters each, against 8,000 characters: millions of steps.
  private let slow = "(?:[a-y]?){900}"
  private let text = String(repeating: "a", count: 8_000)

  @Test func aPatternEndsWhenTheBudgetIsSpent() throws {
    let pattern = try BoundedPattern(slow)
    let budget = ValidationBudget(steps: 100_000)
    #expect(pattern.matches(text, within: budget) == nil)
    #expect(budget.isSpent)
    #expect(pattern.matches("a", within: ValidationBudget(steps: 100_000)) == true)
  }

  @Test func allChecksOfARequestShareIt() throws {
    let schema = ConfigurationSchema(
      [
        try rule("List:*", .list) { $0.pattern = try? BoundedPattern("[a-z]+") },
        try rule("Mode:*", .string) { rule in
          rule.allowedValues = (0..<500).map { .string("value-\($0)") }
        },
      ], isClosed: true)
    var values: [String: LayerValue] = [:]
    for number in 0..<200 {
      values["List:\(number)"] = .init(.list(Array(repeating: "abc", count: 100)))
      values["Mode:\(number)"] = .init(.string("value-499"))
    }
    let layer = LayerValues(.api, values)
    let enough = ValidationBudget(steps: 10_000_000)
    #expect(
      EffectiveConfiguration.merging([layer], schema: schema, budget: enough).violations == [])
    #expect(!enough.isSpent)
    let scarce = ValidationBudget(steps: 50_000)
    let (settings, violations) = EffectiveConfiguration.merging(
      [layer], schema: schema, budget: scarce)
    #expect(scarce.isSpent)
    #expect(Set(violations.map(\.rule)) == [.steps])
    #expect(violations.count + settings.settings.count == 400)
    #expect(violations.first?.message.contains("more than 50000 steps") == true)
  }

  @Test func onlySomeUnknownKeysAreToldTheNearest() throws {
    let schema = ConfigurationSchema([try rule("Server:Port", .integer)], isClosed: true)
    let values = (0..<100).map { ("Server:Por\($0)", LayerValue(.integer(1))) }
    let violations = EffectiveConfiguration.merging(
      [LayerValues(.file, Dictionary(uniqueKeysWithValues: values))], schema: schema
    ).violations
    #expect(violations.count == 100)
    #expect(violations.filter { $0.message.contains("did you mean") }.count == 20)
  }

  @Test func whatIsToldIsBoundedHoweverLongTheKeys() throws {
    let long = String(repeating: "k", count: 100_000)
    let schema = ConfigurationSchema(
      [
        try rule("Code", .string) {
          $0.pattern = try? BoundedPattern(String(repeating: "x", count: 1_000))
        }
      ], isClosed: true)
    let layer = LayerValues(
      .environmentVariables,
      [
        long: .init(.integer(1), source: long),
        "Code": .init(.string(String(repeating: "y", count: 5_000))),
      ])
    let violations = EffectiveConfiguration.merging([layer], schema: schema).violations
    #expect(violations.map(\.rule) == [.pattern, .keyForm])
    for violation in violations { #expect(violation.byteCount < 2_000) }
    #expect(violations.fitting(count: 1, bytes: 10_000).count == 1)
    #expect(violations.fitting(count: 9, bytes: 10_000) == violations)
    #expect(violations.fitting(count: 9, bytes: violations[0].byteCount) == [violations[0]])
  }
}
