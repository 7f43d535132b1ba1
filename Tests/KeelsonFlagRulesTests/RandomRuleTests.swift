import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonFlagRules

struct RandomRules {
  var generator: SeededGenerator

  static let scalars: [JSONValue] = [
    .null, true, false, 0, 1, 2, -1, 2.5, "", "0", "1", "a", "ab", "abc", "2.5", "b",
  ]
  static let paths: [JSONValue] = [
    "a", "b", "list", "list.0", "list.9", "user.name", "user", "user.roles.1", "absent", "",
    "current", "accumulator", 1,
  ]
  static let operators = [
    "missing", "missing_some", "if", "?:", "and", "or", "!", "!!", "==", "!=", "===", "!==", "<",
    "<=", ">", ">=", "+", "*", "-", "max", "min", "map", "filter", "all", "none", "some", "reduce",
    "merge", "in", "cat", "starts_with", "ends_with",
  ]

  mutating func rule(depth: Int) -> JSONValue {
    let roll = Int.random(in: 0..<10, using: &generator)
    if depth == 0 || roll < 2 {
      return roll.isMultiple(of: 2)
        ? RandomRules.scalars.randomElement(using: &generator) ?? .null
        : ["var": RandomRules.paths.randomElement(using: &generator) ?? .null]
    }
    if roll == 2 { return .array(operands(0...3, depth: depth)) }
    if roll == 3 {
      let path = RandomRules.paths.randomElement(using: &generator) ?? .null
      return ["var": [path, rule(depth: depth - 1)]]
    }
    let name = RandomRules.operators.randomElement(using: &generator) ?? "!"
    let counts =
      switch name {
      case "if", "and", "or", "cat", "merge", "+", "*", "max", "min", "missing": 0...5
      case "reduce": 3...3
      case "?:", "<", "<=", ">", ">=": 2...3
      case "-", "!", "!!": 1...2
      default: 2...2
      }
    return [name: .array(operands(counts, depth: depth))]
  }

  private mutating func operands(_ counts: ClosedRange<Int>, depth: Int) -> [JSONValue] {
    (0..<Int.random(in: counts, using: &generator)).map { _ in rule(depth: depth - 1) }
  }

  mutating func context() -> EvaluationContext {
    func some(_ list: [JSONValue]) -> JSONValue { list.randomElement(using: &generator) ?? .null }
    return [
      "a": some(RandomRules.scalars), "b": some(RandomRules.scalars + [[1, "a"], ["x": 1]]),
      "list": some([[], [1, 2, 3], ["a", "b"], [[1], [2]], "no list", [.null, 1]]),
      "user": some([["name": "ada", "roles": ["x", "y"]], ["name": ""], .null, "text"]),
      "targetingKey": "user-1",
    ]
  }
}

@Suite struct RandomRuleTests {
  /// NaN equals nothing, itself included; as JSON text it is null.
  private func same(_ left: JSONValue, _ right: JSONValue) -> Bool {
    switch (left, right) {
    case (.number(let left), .number(let right)): left == right || left.isNaN && right.isNaN
    case (.array(let left), .array(let right)):
      left.count == right.count && zip(left, right).allSatisfy(same)
    case (.object(let left), .object(let right)):
      left.count == right.count && left.allSatisfy { same($1, right[$0] ?? "absent") }
    default: left == right
    }
  }

  @Test(arguments: [1, 2, 3, 4]) func compiledRulesAgreeWithTheReference(_ seed: UInt64) throws {
    var rules = RandomRules(generator: SeededGenerator(seed: seed))
    let reference = ReferenceInterpreter()
    for _ in 0..<300 {
      let rule = rules.rule(depth: 4)
      let context = rules.context()
      var data = context.attributes
      data["targetingKey"] = context.targetingKey.map { .string($0) }
      data["$flagd"] = ["flagKey": "flag", "timestamp": 1_700_000_000]
      let expected = reference.evaluate(rule, .object(data))
      let actual = try value(rule, context)
      #expect(
        same(actual, expected), "\(rule.text) on \(JSONValue.object(data).text): \(actual)")
    }
  }

  /// Whatever object somebody stores as a rule: it compiles or is refused, and then evaluates.
  @Test(arguments: [5, 6]) func noRuleCrashes(_ seed: UInt64) {
    var rules = RandomRules(generator: SeededGenerator(seed: seed))
    let names = Operator.allCases.map(\.rawValue) + ["unknown", ""]
    func mangled(_ rule: JSONValue, _ generator: inout SeededGenerator) -> JSONValue {
      switch rule {
      case .array(let list): return .array(list.map { mangled($0, &generator) })
      case .object(let members):
        var result: [String: JSONValue] = [:]
        for (name, member) in members {
          let isSwapped = Int.random(in: 0..<3, using: &generator) == 0
          let other = names.randomElement(using: &generator) ?? name
          result[isSwapped ? other : name] = mangled(member, &generator)
        }
        return .object(result)
      default: return rule
      }
    }
    var compiled = 0
    for _ in 0..<300 {
      let rule = mangled(rules.rule(depth: 4), &rules.generator)
      let context = rules.context()
      let flag = colourFlag(rule.text)
      try? FlagRuleSet.validate(flag, segments: ["a": ["!": [true]]])
      for bucketing in Bucketing.allCases {
        let set = FlagRuleSet(flags: [flag], segments: ["a": ["!": [true]]], bucketing: bucketing)
        let evaluation = set.evaluate("colour", context: context)
        #expect((evaluation.value == nil) == (evaluation.variant == nil))
        #expect((evaluation.reason == .error) == (evaluation.errorCode != nil))
        if set.failures.isEmpty { compiled += 1 }
      }
    }
    #expect(compiled > 50)
  }
}
