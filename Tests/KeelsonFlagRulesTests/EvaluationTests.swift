import KeelsonCore
import Testing

@testable import KeelsonFlagRules

@Suite struct EvaluationTests {
  private func evaluate(
    _ flag: FlagDefinition, _ context: EvaluationContext = .empty
  ) throws -> FlagEvaluation {
    try CompiledFlag(flag).evaluate(context)
  }

  @Test(arguments: [nil, "", "{}", " { } ", "null"]) func noTargetingIsStatic(
    _ targeting: String?
  ) throws {
    let evaluation = try evaluate(colourFlag(targeting))
    #expect(evaluation.reason == .static)
    #expect(evaluation.variant == "red")
    #expect(evaluation.value == "#f00")
  }

  @Test func noDefaultVariantLeavesItToTheCaller() throws {
    for targeting in [nil, #"{"if":[false,"red"]}"#] {
      let evaluation = try evaluate(colourFlag(targeting, defaultVariant: nil))
      #expect(evaluation.reason == .default)
      #expect(evaluation.variant == nil && evaluation.value == nil)
      #expect(evaluation.errorCode == nil)
    }
  }

  @Test func aDisabledFlagHasNoVariant() throws {
    for targeting in [nil, #"{"if":[true,"green"]}"#] {
      let evaluation = try evaluate(colourFlag(targeting, isEnabled: false))
      #expect(evaluation.reason == .disabled)
      #expect(evaluation.variant == nil && evaluation.value == nil)
      #expect(evaluation.errorCode == nil)
    }
  }

  @Test func targetingChooses() throws {
    let flag = colourFlag(#"{"if":[{"==":[{"var":"plan"},"pro"]},"green",null]}"#)
    let match = try evaluate(flag, ["plan": "pro"])
    #expect(match.reason == .targetingMatch && match.variant == "green" && match.string == "#0f0")
    let other = try evaluate(flag, ["plan": "free"])
    #expect(other.reason == .default && other.variant == "red")
    // The default variant named by the rule is a match all the same: never STATIC.
    let named = try evaluate(colourFlag(#"{"if":[true,"red"]}"#))
    #expect(named.reason == .targetingMatch && named.variant == "red")
  }

  @Test func booleansAndNumbersNameVariants() throws {
    let flag = FlagDefinition(
      key: "f", type: .string,
      variants: ["true": "yes", "false": "no", "1": "one", "1.5": "more"],
      targeting: #"{"var":"pick"}"#)
    #expect(try evaluate(flag, ["pick": true]).string == "yes")
    #expect(try evaluate(flag, ["pick": false]).string == "no")
    #expect(try evaluate(flag, ["pick": 1]).string == "one")
    #expect(try evaluate(flag, ["pick": 1.5]).string == "more")
    #expect(try evaluate(flag, ["pick": "1.5"]).string == "more")
    #expect(try evaluate(flag, ["pick": .null]).reason == .default)
  }

  @Test(arguments: [#""purple""#, "7", "[\"red\"]", "{\"red\":1}", "true"])
  func whatIsNoVariantIsAnError(_ pick: String) throws {
    let evaluation = try evaluate(
      colourFlag(#"{"var":"pick"}"#), ["pick": try JSONValue(parsing: pick)])
    #expect(evaluation.reason == .error)
    #expect(evaluation.errorCode == .general)
    #expect(evaluation.value == nil && evaluation.variant == nil)
    let shown = try JSONValue(parsing: pick).text
    #expect(
      evaluation.errorMessage
        == "flag \"colour\": the rule gave \(shown), which is not a variant")
  }

  @Test func aDefaultVariantThatIsNoneIsAnError() throws {
    let evaluation = try evaluate(colourFlag(nil, defaultVariant: "purple"))
    #expect(evaluation.reason == .error && evaluation.errorCode == .general)
  }

  @Test func notANumberLeavesItToTheDefault() throws {
    #expect(try evaluate(colourFlag(#"{"/":[0,0]}"#)).reason == .default)
  }

  @Test func theClockIsReadOnlyWhenAsked() throws {
    var readings = 0
    func clock() -> UnixTime {
      readings += 1
      return UnixTime(microseconds: 1_000_999_999)
    }
    let timeless = try CompiledFlag(colourFlag(#"{"if":[{"var":"x"},"green","blue"]}"#))
    #expect(timeless.evaluate(.empty, now: clock()).variant == "blue")
    #expect(readings == 0)
    let timed = try CompiledFlag(
      colourFlag(#"{"if":[{"==":[{"var":"$flagd.timestamp"},1000]},"green","blue"]}"#))
    #expect(timed.evaluate(.empty, now: clock()).variant == "green")
    #expect(readings == 1)
  }

  @Test func anEvaluationThatRunsAwayIsGivenUp() throws {
    // Doubles a list with each element it sees.
    let flag = colourFlag(
      """
      {"if":[{"reduce":[{"var":"list"},
        {"merge":[{"var":"accumulator"},{"var":"accumulator"}]},[1]]},"green","blue"]}
      """)
    let evaluation = try evaluate(flag, ["list": .array(Array(repeating: 0, count: 64))])
    #expect(evaluation.reason == .error && evaluation.errorCode == .general)
    #expect(evaluation.errorMessage?.contains("more than 100000 steps") == true)
    #expect(try evaluate(flag, ["list": [0, 0, 0]]).variant == "green")
  }

  @Test func theTextStaysAsItWasWritten() throws {
    let text = "{ \"if\" : [ {\"var\":\"x\"},\n \"green\" , \"blue\" ] }"
    #expect(try CompiledFlag(colourFlag(text)).definition.targeting == text)
    #expect(FlagRuleSet(flags: [colourFlag(text)]).definition("colour")?.targeting == text)
  }

  @Test func contextsLayOverOneAnother() {
    let base: EvaluationContext = ["targetingKey": "a", "x": 1, "y": 2]
    let merged = base.merging(["y": 3])
    #expect(merged == ["targetingKey": "a", "x": 1, "y": 3])
    #expect(merged.targetingKey == "a" && merged.attributes["targetingKey"] == nil)
    #expect(EvaluationContext(["targetingKey": 7]).attributes["targetingKey"] == 7)
  }
}
