import KeelsonCore
import Testing

@testable import KeelsonFlagRules

@Suite struct ValidationTests {
  static let segments: [String: JSONValue] = [
    "staff": ["ends_with": [["var": "email"], "@example.com"]],
    "nested": ["!": [["$ref": "staff"]]],
  ]

  /// What a person is told, word for word.
  static let refused: [(rule: String, error: String)] = [
    (
      #"{"if":[{"startswith":["a","b"]},"red","blue"]}"#,
      #"targeting at if[0].startswith: unknown operator "startswith"; did you mean "starts_with"?"#
    ),
    (
      #"{"if":[true,"purple"]}"#,
      #"targeting at if[1]: the flag has no variant "purple"; the variants are "blue", "green", "red""#
    ),
    (
      #"{"if":[true,{"fractional":[["red",50],["pink",50]]}]}"#,
      #"targeting at if[1].fractional[1][0]: the flag has no variant "pink"; the variants are "blue", "green", "red""#
    ),
    (
      #"{"if":[true,{"fractional":[["red",-5],["blue",50]]}]}"#,
      "targeting at if[1].fractional[0][1]: a weight is 0 or more, not -5"
    ),
    (
      #"{"fractional":[["red",0.5]]}"#,
      "targeting at fractional[0][1]: a weight is a whole number from 0 to 2147483647, not 0.5"
    ),
    (
      #"{"fractional":[["red","5"]]}"#,
      "targeting at fractional[0][1]: a weight is a whole number from 0 to 2147483647, not \"5\""
    ),
    (
      #"{"fractional":[["red",0]]}"#,
      "targeting at fractional: the weights add up to 0; at least one has to be positive"
    ),
    (
      #"{"fractional":[["red",2147483647],["blue",1]]}"#,
      "targeting at fractional: the weights add up to 2147483648, and 2147483647 is the most they may"
    ),
    (
      #"{"fractional":{"var":"email"}}"#,
      #"targeting at fractional: "fractional" has no variants to choose from; add lists of a variant and its weight: ["on", 50], ["off", 50]"#
    ),
    (
      #"{"fractional":[{"var":"email"},"red"]}"#,
      #"targeting at fractional[1]: "fractional" takes lists of a variant and its weight, such as ["on", 50], not "red""#
    ),
    (
      #"{"fractional":[["red",1,2]]}"#,
      "targeting at fractional[0]: a share is a variant and its weight, but this list has 3 elements"
    ),
    (
      #"{"if":[{"in":["a"]},"red"]}"#,
      #"targeting at if[0].in: "in" takes 2 operands, but here it has 1"#
    ),
    (
      #"{"if":[{"!":[1,2]},"red"]}"#,
      #"targeting at if[0].!: "!" takes 1 operand, but here it has 2"#
    ),
    (
      #"{"if":[{"<":[1]},"red"]}"#,
      #"targeting at if[0].<: "<" takes 2 to 3 operands, but here it has 1"#
    ),
    (#"{"if":[]}"#, #"targeting at if: "if" takes at least 1 operand, but here it has 0"#),
    (
      #"{"if":[{"in":["a",7]},"red"]}"#,
      #"targeting at if[0].in: "in" looks in a list or a text, not in 7; write {"in": [<value>, [<value>, …]]}"#
    ),
    (
      #"{"if":[{"starts_with":[{"var":"a"},7]},"red"]}"#,
      #"targeting at if[0].starts_with: "starts_with" compares with a text, not 7"#
    ),
    (
      #"{"if":[{"sem_ver":[{"var":"v"},"==","1.0"]},"red"]}"#,
      #"targeting at if[0].sem_ver: "sem_ver" compares with one of = != < <= > >= ^ ~, not "==""#
    ),
    (
      #"{"if":[{"sem_ver":[{"var":"v"},"=","1.x"]},"red"]}"#,
      #"targeting at if[0].sem_ver: "1.x" is no version; write it like "1.2.3""#
    ),
    (
      #"{"==":[{"var":"plan"},"pro"]}"#,
      #"targeting at ==: "==" gives true or false as the rule's result, but the flag has no variant "true"; wrap it as {"if": [{"==": …}, "<variant>", "<variant>"]}"#
    ),
    (
      #"{"if":[true,["red"]]}"#,
      #"targeting at if[1]: a rule's result is a variant's name or null, not the list ["red"]"#
    ),
    (
      #"{"if":[{"==":[1,1],"!=":[1,1]},"red"]}"#,
      #"targeting at if[0]: an operator stands alone in its object, but this object has 2 members: "!=", "==""#
    ),
    (
      #"{"if":[{"$ref":"beta"},"red"]}"#,
      #"targeting at if[0].$ref: there is no segment "beta"; the segments are "nested", "staff""#
    ),
    (
      #"{"if":[{"$ref":"nested"},"red"]}"#,
      #"targeting at $evaluators.nested.![0].$ref: a segment cannot refer to another one ("staff"); write its condition out here"#
    ),
    (
      #"{"if":[{"$ref":7},"red"]}"#,
      #"targeting at if[0].$ref: "$ref" takes the name of a segment, not 7"#
    ),
    (
      #""red""#,
      #"targeting: a rule is a JSON object with one operator, such as {"if": […]}, not "red""#
    ),
  ]

  @Test(arguments: refused) func refuses(_ rule: String, _ message: String) {
    do {
      try FlagRuleSet.validate(colourFlag(rule), segments: ValidationTests.segments)
      Issue.record("accepted \(rule)")
    } catch {
      #expect(error.description == message)
    }
  }

  static let accepted = [
    #"{"if":[{"$ref":"staff"},"red",null]}"#,
    #"{"if":[{"in":[{"var":"plan"},["a","b"]]},"red","blue"]}"#,
    #"{"fractional":[["red",50],["blue"],["green",{"if":[{"var":"x"},1,0]}]]}"#,
    #"{"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"email"}]},["red",0],["blue",100]]}"#,
    #"{"if":[{"sem_ver":[{"var":"v"},{"var":"relation"},"1.0"]},"red"]}"#,
    #"{"var":["colour","red"]}"#, #"{"or":[{"var":"colour"},"red"]}"#,
  ]

  @Test(arguments: accepted) func accepts(_ rule: String) throws {
    try FlagRuleSet.validate(colourFlag(rule), segments: ValidationTests.segments)
  }

  @Test func refusesWhatIsNoJSON() {
    do {
      try FlagRuleSet.validate(colourFlag("{\"if\":"), segments: [:])
      Issue.record("accepted")
    } catch {
      #expect(error.description.hasPrefix("targeting: not valid JSON: "))
    }
  }

  @Test func refusesVariantsThatDoNotFit() {
    func message(_ change: (inout FlagDefinition) -> Void) -> String? {
      var flag = colourFlag(nil)
      change(&flag)
      do {
        try FlagRuleSet.validate(flag, segments: [:])
        return nil
      } catch {
        return error.description
      }
    }
    #expect(message { _ in } == nil)
    #expect(message { $0.variants = [:] } == "variants: a flag needs at least one variant")
    #expect(
      message { $0.variants["green"] = 7 }
        == "variants.green: the flag is of type string, but the variant is 7")
    #expect(
      message { $0.defaultVariant = "pink" }
        == "defaultVariant: the flag has no variant \"pink\"; the variants are \"blue\", "
        + "\"green\", \"red\"")
  }

  @Test func refusesWhatIsTooLarge() throws {
    func message(_ rule: String, _ limits: RuleLimits) -> String? {
      do {
        try FlagRuleSet.validate(colourFlag(rule), segments: [:], limits: limits)
        return nil
      } catch {
        return error.message
      }
    }
    let rule = #"{"if":[{"!":[{"!":[true]}]},"red"]}"#
    #expect(message(rule, RuleLimits(textBytes: rule.utf8.count, depth: 3, nodes: 5)) == nil)
    #expect(
      message(rule, RuleLimits(textBytes: rule.utf8.count - 1))?
        .hasPrefix("the rule is 35 bytes long, and at most 34 are allowed") == true)
    #expect(
      message(rule, RuleLimits(depth: 2))?
        .hasPrefix("the rule nests deeper than 2 levels") == true)
    #expect(
      message(rule, RuleLimits(nodes: 4))?
        .hasPrefix("the rule has more than 4 operators and values") == true)
    // A segment counts each time it is used.
    let segments: [String: JSONValue] = ["s": ["in": [["var": "x"], ["a", "b", "c"]]]]
    let twice = #"{"if":[{"or":[{"$ref":"s"},{"$ref":"s"}]},"red"]}"#
    #expect(throws: RuleError.self) {
      try FlagRuleSet.validate(
        colourFlag(twice), segments: segments, limits: RuleLimits(nodes: 15))
    }
    try FlagRuleSet.validate(colourFlag(twice), segments: segments)
  }

  @Test func segmentsAreCheckedByThemselves() throws {
    try FlagRuleSet.validateSegment("staff", ["ends_with": [["var": "email"], "@example.com"]])
    do {
      try FlagRuleSet.validateSegment("staff", ["in": ["a"]])
      Issue.record("accepted")
    } catch {
      #expect(error.path == "$evaluators.staff.in" && error.operator == "in")
    }
    #expect(throws: RuleError.self) {
      try FlagRuleSet.validateSegment("nested", ["!": [["$ref": "staff"]]])
    }
  }

  /// Writes are refused what evaluation lets pass with a null.
  @Test func evaluationIsMoreLenient() throws {
    for (rule, _) in ValidationTests.refused where rule.contains("sem_ver") {
      _ = try CompiledFlag(colourFlag(rule))
    }
    let flag = try CompiledFlag(colourFlag(#"{"starts_with":["a"]}"#))
    #expect(flag.evaluate(.empty).reason == .default)
  }
}
