import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// A retention policy as rules: when which entries may go. Source: SYS-109.
struct RetentionRules: Sendable, Hashable {
  /// nil: for ever.
  var defaultRetention: Duration?
  var categories: [String: Duration?]

  init(_ policy: KeelsonAuditV1.RetentionPolicy) {
    defaultRetention = Self.retention(policy.defaultRetention)
    categories = policy.categories.mapValues { Self.retention($0) }
  }

  private static func retention(_ duration: GoogleProtobuf.Duration?) -> Duration? {
    guard let seconds = duration?.seconds, seconds > 0 else { return nil }
    return .seconds(seconds)
  }

  private static func time(_ now: UnixTime, minus retention: Duration) -> UnixTime {
    let seconds = retention.components.seconds
    return UnixTime(microseconds: now.microseconds - seconds * 1_000_000)
  }

  /// Entries recorded before this time have to be archived: those of some category may go.
  func archiveTime(at now: UnixTime) -> UnixTime? {
    let all = [defaultRetention] + categories.values
    return all.compactMap { $0 }.min().map { Self.time(now, minus: $0) }
  }

  /// A condition that entries fulfil whose time is over, with its parameters from `$first` on; nil
  /// when none ever is.
  func expiry(at now: UnixTime, first: Int) -> SQLStatement? {
    var parameters: [SQLValue] = []
    func parameter(_ value: SQLValue) -> String {
      parameters.append(value)
      return "$\(first + parameters.count - 1)"
    }
    var conditions: [String] = []
    for (category, retention) in categories.sorted(by: { $0.key < $1.key }) {
      guard let retention else { continue }
      let time = Self.time(now, minus: retention)
      conditions.append(
        "(category = \(parameter(.text(category))) AND time < \(parameter(SQLValue(time))))")
    }
    if let defaultRetention {
      let time = Self.time(now, minus: defaultRetention)
      let named = categories.keys.sorted().map { parameter(.text($0)) }
      let others = named.isEmpty ? "" : "category NOT IN (\(named.joined(separator: ", "))) AND "
      conditions.append("(\(others)time < \(parameter(SQLValue(time))))")
    }
    guard !conditions.isEmpty else { return nil }
    return SQLStatement("(\(conditions.joined(separator: " OR ")))", parameters)
  }
}

extension KeelsonAuditV1.RetentionPolicy {
  /// The policy until somebody sets another.
  static var initial: Self {
    var policy = Self(
      defaultRetention: .init(seconds: 365 * 86_400),
      categories: ["critical": .init(seconds: 2_555 * 86_400)],
      archiveInterval: .init(seconds: 86_400), auditReads: true)
    policy.stamp()
    return policy
  }

  /// Gives it the etag of what it says.
  mutating func stamp() {
    etag = String(revision)
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT that names all that is wrong.
  func check(limits: AuditLimits) throws {
    var check = AuditFieldCheck(prefix: "policy.")
    func retention(_ duration: GoogleProtobuf.Duration?, _ field: String) {
      let seconds = duration?.seconds ?? 0
      if seconds < 0 || seconds > 100 * 366 * 86_400 || (duration?.nanos ?? 0) != 0 {
        check.add(field, "is no whole number of seconds from 0 to 100 years")
      }
    }
    retention(defaultRetention, "default_retention")
    if categories.count > limits.categories {
      check.add(
        "categories",
        "has \(categories.count) entries; at most \(limits.categories) are allowed")
    }
    for (category, duration) in categories.sorted(by: { $0.key < $1.key }) {
      check.word(category, "categories", limits.categoryBytes, isRequired: true)
      retention(duration, "categories[\"\(category.prefix(64))\"]")
    }
    retention(archiveInterval, "archive_interval")
    if let seconds = archiveInterval?.seconds, seconds != 0, seconds < 60 {
      check.add("archive_interval", "is below a minute; 0 is for not archiving by itself")
    }
    try check.finish()
  }
}
