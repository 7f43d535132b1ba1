/// What Redis says of itself. Source: the documentation of INFO.
struct RedisInformation {
  private let fields: [Substring: Substring]

  init(_ reply: RedisReply) throws(RedisError) {
    guard let text = try reply.checked().text else {
      throw RedisError(.unreachable, "Redis has given no text about itself.")
    }
    var fields: [Substring: Substring] = [:]
    for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      fields[line[..<colon]] = line[line.index(after: colon)...]
    }
    self.fields = fields
  }

  subscript(_ name: Substring) -> Substring? { fields[name] }

  func number(_ name: Substring) -> Int? { fields[name].flatMap { Int($0) } }

  /// Of the process: another after a restart. The first 64 bits of 160; 0 when it is not there.
  var runID: UInt64 { fields["run_id"].flatMap { UInt64($0.prefix(16), radix: 16) } ?? 0 }

  /// Checks that it is a Redis that can be used.
  ///
  /// - Throws: ``RedisError``, refused where waiting does not help.
  func check() throws(RedisError) {
    if fields["cluster_enabled"] == "1" || fields["redis_mode"] == "cluster" {
      throw RedisError(
        .refused,
        "The cache's Redis is part of a Redis Cluster, which is not supported: give one that is not "
          + "(cluster-enabled no).")
    }
    if fields["redis_mode"] == "sentinel" {
      throw RedisError(
        .refused,
        "The cache's address is that of a Sentinel, which is not supported: give that of the "
          + "primary, or of a proxy that follows it.")
    }
    if fields["loading"] == "1" {
      throw RedisError(.unreachable, "Redis is loading its data.")
    }
    guard fields["role"] ?? "master" == "master" else { throw Self.isReplica }
    guard runID != 0 else {
      throw RedisError(
        .refused, "The cache's Redis does not say which process it is (run_id in INFO).")
    }
  }

  /// A replica may be behind, and takes no writes.
  private static let isReplica = RedisError(
    .unreachable,
    "The cache's Redis is a replica: give the address of the primary, or of a proxy that follows it."
  )

  /// Checks the answer to ROLE.
  static func checkRole(_ reply: RedisReply) throws(RedisError) {
    guard try reply.checked().array?.first?.text == "master" else { throw isReplica }
  }
}
