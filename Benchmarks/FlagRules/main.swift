// How long one evaluation takes and how often it allocates.
//
//   swift run -c release flag-rules-benchmark [evaluations per round [start of a case's name]]

import CAllocationCount
import KeelsonCore
import KeelsonFlagRules

struct Case {
  let name: String
  let flag: FlagDefinition
  let context: EvaluationContext
  var segments: [String: JSONValue] = [:]
  /// The variant it has to choose: a benchmark of the wrong answer is worth nothing.
  let variant: String
}

func flag(_ key: String, _ targeting: String? = nil) -> FlagDefinition {
  FlagDefinition(
    key: key, type: .boolean, variants: ["on": true, "off": false], defaultVariant: "off",
    targeting: targeting, metadata: ["owner": "checkout"], revision: 1)
}

let person: EvaluationContext = [
  "targetingKey": "5c3d8535-f81a-4478-a6d3-afaa4d51199e",
  "email": "someone@example.com", "country": "CH", "plan": "enterprise", "appVersion": "2.4.1",
  "age": 37, "groups": ["staff", "beta"],
]
let countries = (0..<200).map { "\"C\($0)\"" }.joined(separator: ",")

let cases = [
  Case(name: "static", flag: flag("new-checkout"), context: person, variant: "off"),
  Case(
    name: "static, empty context", flag: flag("new-checkout"), context: .empty, variant: "off"),
  Case(
    name: "one condition",
    flag: flag("new-checkout", #"{"if":[{"==":[{"var":"country"},"CH"]},"on","off"]}"#),
    context: person, variant: "on"),
  Case(
    name: "rollout by targeting key",
    flag: flag("new-checkout", #"{"fractional":[["on",50],["off",50]]}"#), context: person,
    variant: "off"),
  Case(
    name: "three conditions and a rollout",
    flag: flag(
      "new-checkout",
      #"""
      {"if":[{"and":[{"==":[{"var":"country"},"CH"]},
                     {"in":[{"var":"plan"},["team","enterprise"]]},
                     {">=":[{"var":"age"},18]}]},
             {"fractional":[["on",50],["off",50]]},"off"]}
      """#),
    context: person, variant: "off"),
  Case(
    name: "three conditions and a rollout by flag key and email",
    flag: flag(
      "new-checkout",
      #"""
      {"if":[{"and":[{"ends_with":[{"var":"email"},"@example.com"]},
                     {"sem_ver":[{"var":"appVersion"},">=","2.0.0"]},
                     {"!=":[{"var":"country"},"US"]}]},
             {"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"email"}]},
                            ["on",50],["off",50]]},"off"]}
      """#),
    context: person, variant: "off"),
  Case(
    name: "segment",
    flag: flag("new-checkout", #"{"if":[{"$ref":"staff"},"on","off"]}"#), context: person,
    segments: ["staff": ["in": ["staff", ["var": "groups"]]]], variant: "on"),
  Case(
    name: "list of 200",
    flag: flag(
      "new-checkout", #"{"if":[{"in":[{"var":"country"},[\#(countries)]]},"on","off"]}"#),
    context: person, variant: "off"),
]

let evaluations = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 1_000_000
let wanted = CommandLine.arguments.dropFirst(2).first ?? ""
let rounds = 5

func padded(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(1, width - text.count))
}

print(padded("", 56) + "ns/evaluation  allocations/evaluation")
for one in cases where one.name.hasPrefix(wanted) {
  // Among a thousand others, as in a real set.
  let others = (0..<1000).map { flag("other-\($0)") }
  let set = FlagRuleSet(flags: others + [one.flag], segments: one.segments)
  let clock = ContinuousClock()
  var best = Duration.seconds(3600)
  var allocations: UInt64 = 0
  for _ in 0..<rounds {
    var right = 0
    let before = keelson_allocation_count()
    let time = clock.measure {
      for _ in 0..<evaluations {
        let evaluation = set.evaluate("new-checkout", context: one.context)
        if evaluation.reason != .error { right += 1 }
      }
    }
    allocations = keelson_allocation_count() - before
    precondition(right == evaluations)
    best = min(best, time)
  }
  let variant = set.evaluate("new-checkout", context: one.context).variant ?? "none"
  precondition(variant == one.variant, "\(one.name) chose \(variant), not \(one.variant)")
  let nanoseconds = best / .nanoseconds(evaluations)
  print(
    padded(one.name, 56) + padded(String(Int(nanoseconds.rounded())), 15)
      + String((Double(allocations) / Double(evaluations) * 100).rounded() / 100))
}
