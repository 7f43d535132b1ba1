package import KeelsonAudit
package import KeelsonCache
package import KeelsonConfiguration
package import KeelsonCore
package import KeelsonEvents
package import KeelsonFlags
package import KeelsonJobs
package import KeelsonPostgres
package import KeelsonRedis
package import KeelsonSQLite
package import KeelsonTransport

/// Every limit of the server that an admin can set.
package struct ServerLimits: Sendable {
  /// Only its limits are of interest here, not where it listens.
  package var transport = ServerConfiguration(addresses: [])
  package var store = SQLiteConfiguration.Limits()
  /// Its waiting writes and reads are those of `store`.
  package var postgres = PostgresConfiguration.Limits()
  package var flags = FlagLimits()
  package var events = EventLimits()
  package var audit = AuditLimits()
  package var configuration = ConfigurationLimits()
  package var jobs = JobLimits()
  package var cache = CacheLimits()
  /// Its staleness and view are those of `cache`.
  package var redis = RedisConfiguration.Limits()

  package init() {}

  /// The assignments in an environment variable, `a=1,b=2s`; nil for the value where there is no
  /// `=`.
  static func assignments(in list: String) -> [(name: String, value: String?)] {
    list.split(separator: ",").map { assignment in
      let parts = assignment.trimming(while: { $0 == " " }).split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (String(parts[0]), parts.count == 2 ? String(parts[1]) : nil)
    }
  }

  /// Takes settings as they stand in an environment variable: `a=1,b=2s`.
  ///
  /// - Throws: INVALID_ARGUMENT that says what would be right.
  package mutating func set(list: String) throws(RPCError) {
    for assignment in list.split(separator: ",") {
      try set(String(assignment.trimming(while: { $0 == " " })))
    }
  }

  /// Takes one setting, `NAME=VALUE`.
  ///
  /// - Throws: INVALID_ARGUMENT that says what would be right.
  package mutating func set(_ assignment: String) throws(RPCError) {
    let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else {
      throw RPCError(
        .invalidArgument,
        "A limit is set as NAME=VALUE, 'running-calls=1000' for example, not '\(assignment)'.")
    }
    let name = String(parts[0])
    guard let limit = Self.all.first(where: { $0.name == name }) else {
      throw RPCError(
        .invalidArgument,
        "There is no limit '\(name)'"
          + NearestWord.suggestion(for: name, among: Self.all.map(\.name))
          + "; 'keelson limits' lists them.")
    }
    try limit.set(String(parts[1]), in: &self)
  }
}

extension Substring {
  fileprivate func trimming(while isSpace: (Character) -> Bool) -> Substring {
    var trimmed = drop(while: isSpace)
    while let last = trimmed.last, isSpace(last) { trimmed.removeLast() }
    return trimmed
  }
}
