import KeelsonAPI
import KeelsonCore
import KeelsonStore

extension KeelsonEventsV1.RetentionPolicy {
  /// What a new server keeps.
  static let initial = KeelsonEventsV1.RetentionPolicy(
    maxAge: GoogleProtobuf.Duration(.seconds(30 * 86_400)), maxCount: 1_000_000, etag: "r0")

  private static let ages: ClosedRange<Duration> = .seconds(60)...(.seconds(36_500 * 86_400))
  private static let counts: ClosedRange<Int64> = 100...1_000_000_000

  /// The fields that can change.
  private static let changeable = ["max_age", "max_count"]

  /// The policy after an update. Source: AIP-134, AIP-161.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT that names the field.
  func applying(_ paths: [String], of update: Self) throws -> Self {
    guard !paths.isEmpty else {
      throw RPCError.invalidArgument(
        field: "update_mask", "is required; name max_age, max_count, or * for both")
    }
    var policy = self
    for path in paths.contains("*") ? Self.changeable : paths {
      switch path {
      case "max_age": policy.maxAge = update.maxAge
      case "max_count": policy.maxCount = update.maxCount
      default:
        throw RPCError.invalidArgument(
          field: "update_mask",
          "'\(path.prefix(64))' cannot be changed; max_age and max_count can")
      }
    }
    try policy.check()
    return policy
  }

  private func check() throws {
    if let maxAge {
      let age = try? maxAge.duration
      guard let age, Self.ages.contains(age) else {
        throw RPCError.invalidArgument(
          field: "policy.max_age", "is not from 1 minute to 100 years; leave it out for no limit")
      }
    }
    guard maxCount == 0 || Self.counts.contains(maxCount) else {
      throw RPCError.invalidArgument(
        field: "policy.max_count",
        "is \(maxCount), which is not from 100 to 1,000,000,000; 0 is no limit")
    }
  }

  /// The time before which events are too old; nil when none is.
  func tooOld(now: UnixTime) -> UnixTime? {
    maxAge.map { now - $0.clampedDuration }
  }

  /// The revision up to which events are not kept any more.
  ///
  /// - Parameters:
  ///   - last: the newest revision.
  ///   - tooOld: the newest of those that are older than ``maxAge``; nil when none is.
  ///   - young: the oldest of those that are kept whatever the policy says; nil when none is.
  func expired(last: Int64, tooOld: Int64?, young: Int64?) -> Int64 {
    let byCount = maxCount > 0 ? last - maxCount : 0
    return max(0, min(max(byCount, tooOld ?? 0), young.map { $0 - 1 } ?? last))
  }

  /// What the audit trail and the event say of it.
  var summary: JSONText {
    var members: [String: JSONValue] = ["max_count": .number(Double(maxCount))]
    if let maxAge { members["max_age_seconds"] = .number(Double(maxAge.seconds)) }
    return JSONText(.object(members))
  }
}

extension UnixTime {
  /// So much earlier.
  static func - (time: UnixTime, duration: Duration) -> UnixTime {
    let (seconds, attoseconds) = duration.components
    return UnixTime(
      microseconds: time.microseconds - seconds * 1_000_000 - attoseconds / 1_000_000_000_000)
  }
}
