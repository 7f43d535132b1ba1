import KeelsonCore
import Testing

@testable import KeelsonFlagRules

@Suite struct RuleSetTests {
  static let staff: JSONValue = ["ends_with": [["var": "email"], "@example.com"]]
  static let segmented = #"{"if":[{"$ref":"staff"},"green","blue"]}"#
  let context: EvaluationContext = ["email": "ada@example.com"]

  @Test func aMissingFlagIsNotFound() {
    let set = FlagRuleSet(flags: [], metadata: ["team": "a"])
    let evaluation = set.evaluate("colour", context: .empty)
    #expect(evaluation.reason == .error && evaluation.errorCode == .flagNotFound)
    #expect(evaluation.errorMessage == "there is no flag \"colour\" in this set")
    #expect(evaluation.metadata == ["team": "a"])
  }

  @Test func aFlagThatDoesNotCompileHarmsNoOther() {
    let set = FlagRuleSet(flags: [
      colourFlag(RuleSetTests.segmented, key: "broken"), colourFlag("not json", key: "garbled"),
      colourFlag(#"{"starts_wth":[1,2]}"#, key: "misspelt"), colourFlag(nil, key: "fine"),
    ])
    for key in ["broken", "garbled", "misspelt"] {
      let evaluation = set.evaluate(key, context: .empty)
      #expect(evaluation.reason == .error && evaluation.errorCode == .parseError, "\(key)")
    }
    #expect(set.failures.keys.sorted() == ["broken", "garbled", "misspelt"])
    #expect(set.evaluate("fine", context: .empty).reason == .static)
    #expect(set.count == 4)
  }

  @Test func aSegmentThatComesHealsTheFlag() {
    let broken = FlagRuleSet(flags: [colourFlag(RuleSetTests.segmented)])
    #expect(broken.evaluate("colour", context: context).errorCode == .parseError)
    let healed = broken.settingSegment("staff", to: RuleSetTests.staff, revision: 2)
    #expect(healed.evaluate("colour", context: context).variant == "green")
    #expect(healed.failures.isEmpty && healed.revision == 2)
    // The earlier set is as it was.
    #expect(broken.evaluate("colour", context: context).errorCode == .parseError)
    let changed = healed.settingSegment("staff", to: ["!": [true]], revision: 3)
    #expect(changed.evaluate("colour", context: context).variant == "blue")
    let removed = changed.settingSegment("staff", to: nil, revision: 4)
    #expect(removed.evaluate("colour", context: context).errorCode == .parseError)
  }

  @Test func theNextSetDiffersInOneFlag() {
    let first = FlagRuleSet(flags: [colourFlag(nil, key: "a"), colourFlag(nil, key: "b")])
    let second = first.setting(colourFlag(#"{"if":[true,"green"]}"#, key: "a"), revision: 7)
    #expect(second.evaluate("a", context: .empty).variant == "green")
    #expect(second.evaluate("b", context: .empty).variant == "red")
    #expect(first.evaluate("a", context: .empty).variant == "red")
    let third = second.removingFlag("b", revision: 8)
    #expect(third.evaluate("b", context: .empty).errorCode == .flagNotFound)
    #expect(third.count == 1 && third.revision == 8)
  }

  @Test func flagMetadataLiesOverTheSets() {
    var flag = colourFlag(nil)
    flag.metadata = ["owner": "flag", "nothing": .null]
    let set = FlagRuleSet(flags: [flag], metadata: ["owner": "set", "nothing": 1, "team": "a"])
    let metadata = set.evaluate("colour", context: .empty).metadata
    #expect(metadata == ["owner": "flag", "nothing": 1, "team": "a"])
    let next = set.setting(bucketing: .v2, metadata: ["team": "b"], revision: 2)
    #expect(next.evaluate("colour", context: .empty).metadata == ["owner": "flag", "team": "b"])
    #expect(next.bucketing == .v2)
  }

  @Test func theTypeAskedForHasToFit() {
    let set = FlagRuleSet(flags: [
      colourFlag(nil), colourFlag(nil, key: "off", isEnabled: false),
      colourFlag(nil, key: "none", defaultVariant: nil),
      FlagDefinition(
        key: "zero", type: .number, variants: ["zero": 0], defaultVariant: "zero"),
    ])
    #expect(set.evaluate("colour", as: .string, context: .empty).string == "#f00")
    #expect(set.evaluate("zero", as: .number, context: .empty).number == 0)
    let mismatch = set.evaluate("colour", as: .boolean, context: .empty)
    #expect(mismatch.reason == .error && mismatch.errorCode == .typeMismatch)
    #expect(mismatch.value == nil)
    #expect(set.evaluate("off", as: .boolean, context: .empty).reason == .disabled)
    #expect(set.evaluate("none", as: .boolean, context: .empty).reason == .default)
    #expect(set.evaluate("gone", as: .boolean, context: .empty).errorCode == .flagNotFound)
  }

  @Test func segmentsAreFoundInRules() throws {
    let found = try FlagRuleSet.referencedSegments(
      inTargeting: #"{"if":[{"and":[{"$ref":"b"},{"$ref":"a"}]},"on",{"$ref":"b"}]}"#)
    #expect(found == ["a", "b"])
    #expect(try FlagRuleSet.referencedSegments(inTargeting: "").isEmpty)
    #expect(throws: RuleError.self) {
      try FlagRuleSet.referencedSegments(inTargeting: "{")
    }
  }
}
