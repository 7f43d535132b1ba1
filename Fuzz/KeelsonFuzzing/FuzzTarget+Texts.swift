import KeelsonCore
import KeelsonFlagRules
import KeelsonTransport

extension FuzzTarget {
  /// The rules of flags: a rule, a context and a segment, with NULs between them.
  static let rules = FuzzTarget("rules", maximumBytes: 8 << 10) { input in
    let parts = input.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    let context = try parsed(parts.count > 1 ? parts[1] : "{}")
    let segment = try parsed(parts.count > 2 ? parts[2] : "{}")
    let segments = segment.map { ["s": $0] } ?? [:]
    let flag = FlagDefinition(
      key: "flag", type: .string, variants: ["on": .string("1"), "off": .string("0")],
      defaultVariant: "off", targeting: parts[0])
    var members: [String: JSONValue] = [:]
    if case .object(let object)? = context { members = object }

    var isValid = true
    do throws(RuleError) {
      try FlagRuleSet.validate(flag, segments: segments)
    } catch {
      isValid = false
    }
    for bucketing in Bucketing.allCases {
      let flags = FlagRuleSet(flags: [flag], segments: segments, bucketing: bucketing)
      try require(
        !isValid || flags.failures.isEmpty, "a rule that was accepted does not compile")
      let evaluation = flags.evaluate(
        "flag", context: EvaluationContext(members), now: UnixTime(microseconds: 0))
      let again = flags.evaluate(
        "flag", context: EvaluationContext(members), now: UnixTime(microseconds: 0))
      try require(
        evaluation.variant == again.variant && evaluation.reason == again.reason
          && evaluation.errorCode == again.errorCode, "two evaluations differ")
      try require(
        (evaluation.variant == nil) == (evaluation.value == nil),
        "a variant without its value, or the other way")
      try require(
        (evaluation.errorCode != nil) == (evaluation.reason == .error), "an error without reason")
    }
  }

  /// The value of JSON text, which must be the same when it is written and read again.
  private static func parsed(_ text: String) throws -> JSONValue? {
    guard let value = try? JSONValue(parsing: text) else { return nil }
    guard let again = try? JSONValue(parsing: value.text) else {
      throw FuzzFailure(description: "JSON that was written cannot be read")
    }
    try require(again == value, "JSON changes")
    return value
  }

  /// Addresses as people write them: the client's targets, the server's listeners.
  static let targets = FuzzTarget("targets", maximumBytes: 512) { input in
    let text = String(decoding: input, as: UTF8.self)
    do {
      let target = try Target(text)
      try require(!target.endpoints.isEmpty, "a target without endpoints")
      // It goes out as a header, where neither spaces nor controls may be.
      try require(
        !target.authority.isEmpty
          && target.authority.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F },
        "an authority that no header can hold")
      try require(target.text == text, "the text of a target changes")
    } catch let error as RPCError {
      try require(error.code == .invalidArgument, "a target is refused with \(error)")
    }
    do {
      let address = try ListenAddress(parsing: text)
      try require(!address.description.utf8.contains(0), "an address with a NUL")
      try require(
        try ListenAddress(parsing: address.description) == address,
        "an address is not read back from its description: \(address)")
    } catch let error as SocketError {
      try require(!error.message.isEmpty, "an address is refused without a word")
    }
  }

  /// The service config of a client's channel.
  static let serviceConfig = FuzzTarget("service-config", maximumBytes: 4 << 10) { input in
    do throws(RPCError) {
      _ = try ServiceConfig(json: String(decoding: input, as: UTF8.self))
    } catch {
      try require(error.code == .invalidArgument, "a config is refused with \(error)")
    }
  }
}
