import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

/// The SQL of what lies around the entries. Each function is part of the transaction it is handed.
enum AuditRepository {
  static func entry(_ sequence: Int64, in transaction: any Transaction) async throws
    -> AuditEntry?
  {
    try await transaction.first(
      "SELECT \(AuditEntries.columns) FROM audit_entries WHERE sequence = $1",
      [.integer(sequence)]
    ).map(AuditEntries.entry)
  }

  static func entry(id: String, in transaction: any Transaction) async throws -> AuditEntry? {
    try await transaction.first(
      "SELECT \(AuditEntries.columns) FROM audit_entries WHERE entry_id = $1", [.text(id)]
    ).map(AuditEntries.entry)
  }

  static func oldestSequence(in transaction: any Transaction) async throws -> Int64? {
    try await transaction.first("SELECT min(sequence) FROM audit_entries").flatMap {
      try $0.get(0, as: Int64?.self)
    }
  }

  static func count(
    after sequence: Int64, upTo last: Int64, in transaction: any Transaction
  ) async throws -> Int64 {
    let row = try await transaction.first(
      "SELECT count(*) FROM audit_entries WHERE sequence > $1 AND sequence <= $2",
      [.integer(sequence), .integer(last)])
    return try row?.get(0) ?? 0
  }

  /// Up to where entries have been moved to archives: the end of the last one.
  static func archivedChain(in transaction: any Transaction) async throws -> AuditChain {
    guard
      let row = try await transaction.first(
        "SELECT archived_audit_sequence, archived_audit_hash FROM change_sequence")
    else { return AuditChain() }
    return AuditChain(sequence: try row.get(0), hash: try row.get(1))
  }

  // MARK: Checkpoints

  private static let checkpointColumns =
    "number, sequence, hash, entry_count, time, previous, key_id, signature"

  private static func checkpoint(_ row: Row) throws -> AuditCheckpoint {
    AuditCheckpoint(
      number: try row.get(0), sequence: try row.get(1), hash: try row.get(2),
      count: try row.get(3), time: try row.get(4), previous: try row.get(5),
      keyID: try row.get(6), signature: try row.get(7))
  }

  static func checkpoint(_ number: Int64, in transaction: any Transaction) async throws
    -> AuditCheckpoint?
  {
    try await transaction.first(
      "SELECT \(checkpointColumns) FROM audit_checkpoints WHERE number = $1", [.integer(number)]
    ).map(checkpoint)
  }

  /// The checkpoints below a number, newest first.
  static func checkpoints(before number: Int64, limit: Int, in transaction: any Transaction)
    async throws -> [AuditCheckpoint]
  {
    try await transaction.query(
      """
      SELECT \(checkpointColumns) FROM audit_checkpoints WHERE number < $1
      ORDER BY number DESC LIMIT $2
      """, [.integer(number), SQLValue(limit)]
    ).map(checkpoint)
  }

  /// The checkpoints above a number that speak of entries from a sequence number on, oldest first.
  static func checkpoints(
    after number: Int64, from sequence: Int64, limit: Int, in transaction: any Transaction
  ) async throws -> [AuditCheckpoint] {
    try await transaction.query(
      """
      SELECT \(checkpointColumns) FROM audit_checkpoints WHERE number > $1 AND sequence >= $2
      ORDER BY number LIMIT $3
      """, [.integer(number), .integer(sequence), SQLValue(limit)]
    ).map(checkpoint)
  }

  static func insert(_ checkpoint: AuditCheckpoint, in transaction: any Transaction) async throws {
    try await transaction.execute(
      """
      INSERT INTO audit_checkpoints (\(checkpointColumns)) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      """,
      [
        .integer(checkpoint.number), .integer(checkpoint.sequence), .blob(checkpoint.hash),
        .integer(checkpoint.count), SQLValue(checkpoint.time), .blob(checkpoint.previous),
        .text(checkpoint.keyID), .blob(checkpoint.signature),
      ])
  }

  // MARK: Keys

  struct StoredKey: Sendable {
    var id: String
    var pem: String
    var createTime: UnixTime
  }

  static func signingKeys(in transaction: any Transaction) async throws -> [StoredKey] {
    try await transaction.query(
      "SELECT key_id, public_key, create_time FROM audit_signing_keys ORDER BY create_time, key_id"
    ).map { row in
      StoredKey(id: try row.get(0), pem: try row.get(1), createTime: try row.get(2))
    }
  }

  /// Makes a key known that may be known already.
  static func insert(_ key: StoredKey, in transaction: any Transaction) async throws {
    let known = try await transaction.first(
      "SELECT 1 FROM audit_signing_keys WHERE key_id = $1", [.text(key.id)])
    guard known == nil else { return }
    try await transaction.execute(
      """
      INSERT INTO audit_signing_keys (key_id, public_key, create_time) VALUES ($1, $2, $3)
      ON CONFLICT (key_id) DO NOTHING
      """, [.text(key.id), .text(key.pem), SQLValue(key.createTime)])
  }

  // MARK: Retention

  static func policy(in transaction: any Transaction) async throws
    -> KeelsonAuditV1.RetentionPolicy?
  {
    guard let row = try await transaction.first("SELECT body FROM audit_retention_policy") else {
      return nil
    }
    do {
      return try KeelsonAuditV1.RetentionPolicy(
        decoding: try row.get(0, as: [UInt8].self), limits: .reply)
    } catch let error as RPCError {
      throw StoreError(.corrupt, "The stored retention policy does not decode.", cause: error)
    }
  }

  static func store(
    _ policy: KeelsonAuditV1.RetentionPolicy, in transaction: any Transaction
  ) async throws {
    try await transaction.execute(
      """
      INSERT INTO audit_retention_policy (id, body) VALUES (1, $1)
      ON CONFLICT (id) DO UPDATE SET body = excluded.body
      """, [.blob(policy.encoded())])
  }

  // MARK: Subjects

  /// Destroys a subject's key and forgets its name.
  ///
  /// - Returns: the key's id, and how many entries it had; nil when nothing is kept under that
  ///   name.
  static func erase(
    _ subject: String, at time: UnixTime, in transaction: any Transaction
  ) async throws -> (keyID: String, entries: Int64)? {
    guard
      let row = try await transaction.first(
        "SELECT key_id FROM audit_subjects WHERE subject = $1", [.text(subject)])
    else { return nil }
    let id: String = try row.get(0)
    try await transaction.execute(
      """
      UPDATE audit_subjects
      SET subject = NULL, wrapping_key_id = NULL, wrapped_key = NULL, erase_time = $2
      WHERE key_id = $1
      """, [.text(id), SQLValue(time)])
    let count = try await transaction.first(
      """
      SELECT count(*) FROM audit_entries WHERE subject_key_id = $1 AND subject_key_id <> ''
      """, [.text(id)])
    return (id, try count?.get(0) ?? 0)
  }
}
