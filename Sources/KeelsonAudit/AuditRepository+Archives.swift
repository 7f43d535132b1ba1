import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// An archive as its row has it. Whoever may write to the table may put anything there: what it
/// says counts by its signature.
struct StoredArchive: Sendable {
  var lastSequence: Int64
  var firstSequence: Int64
  var lastHash: [UInt8]
  var name: String
  var signedText: String
  var signature: [UInt8]

  /// What was signed, when it was, and the row says the same.
  ///
  /// - Parameter keys: those that sign here, by id.
  /// - Throws: `AuditFileError` that says what does not fit.
  func manifest(_ keys: [String: VerifyingKey]) throws(AuditFileError) -> AuditArchiveManifest {
    let manifest = try AuditArchiveManifest(signedText: signedText, signature: signature)
    guard let key = keys[manifest.keyID] else {
      throw AuditFileError("It was signed by key \(manifest.keyID), which is not known here.")
    }
    guard manifest.isSigned(by: key) else { throw AuditFileError("Its signature does not fit.") }
    guard manifest.name == name, manifest.hasOwnFileName,
      manifest.firstSequence == firstSequence, manifest.lastSequence == lastSequence,
      manifest.lastHash == lastHash
    else { throw AuditFileError("The database says something else of it than was signed.") }
    return manifest
  }
}

extension AuditRepository {
  private static let archiveColumns =
    "last_sequence, first_sequence, last_hash, name, signed_text, signature"

  private static func archive(_ row: Row) throws -> StoredArchive {
    StoredArchive(
      lastSequence: try row.get(0), firstSequence: try row.get(1), lastHash: try row.get(2),
      name: try row.get(3), signedText: try row.get(4), signature: try row.get(5))
  }

  static func archive(named name: String, in transaction: any Transaction) async throws
    -> StoredArchive?
  {
    try await transaction.first(
      "SELECT \(archiveColumns) FROM audit_archives WHERE name = $1", [.text(name)]
    ).map(archive)
  }

  /// The archive that has an entry.
  static func archive(with sequence: Int64, in transaction: any Transaction) async throws
    -> StoredArchive?
  {
    try await transaction.first(
      """
      SELECT \(archiveColumns) FROM audit_archives
      WHERE last_sequence >= $1 AND first_sequence <= $1 ORDER BY last_sequence LIMIT 1
      """, [.integer(sequence)]
    ).map(archive)
  }

  /// The archives that end below a number, newest first.
  static func archives(before sequence: Int64, limit: Int, in transaction: any Transaction)
    async throws -> [StoredArchive]
  {
    try await transaction.query(
      """
      SELECT \(archiveColumns) FROM audit_archives WHERE last_sequence < $1
      ORDER BY last_sequence DESC LIMIT $2
      """, [.integer(sequence), SQLValue(limit)]
    ).map(archive)
  }

  /// The archives that end above one number and up to another, oldest first.
  static func archives(
    after sequence: Int64, upTo last: Int64, limit: Int, in transaction: any Transaction
  ) async throws -> [StoredArchive] {
    try await transaction.query(
      """
      SELECT \(archiveColumns) FROM audit_archives WHERE last_sequence > $1 AND last_sequence <= $2
      ORDER BY last_sequence LIMIT $3
      """, [.integer(sequence), .integer(last), SQLValue(limit)]
    ).map(archive)
  }

  /// Of the entries in a range those that are kept, with the hashes that they are stored with.
  static func keptHashes(
    from first: Int64, upTo last: Int64, in transaction: any Transaction
  ) async throws -> [(sequence: Int64, id: String, hash: [UInt8])] {
    try await transaction.query(
      """
      SELECT sequence, entry_id, hash FROM audit_entries WHERE sequence >= $1 AND sequence <= $2
      ORDER BY sequence
      """, [.integer(first), .integer(last)]
    ).map { (try $0.get(0), try $0.get(1), try $0.get(2)) }
  }

  /// Adds an archive and moves the archived position over it. Part of a change, whose head nobody
  /// else holds.
  ///
  /// - Returns: false when the position is not where the archive begins: another node archived
  ///   the same entries.
  static func insert(_ archive: AuditArchiveManifest, in transaction: any Transaction) async throws
    -> Bool
  {
    let archived = try await archivedChain(in: transaction)
    guard archived.sequence == archive.firstSequence - 1 else { return false }
    // First, because the position moves over nothing else.
    try await transaction.execute(
      """
      INSERT INTO audit_archives (\(archiveColumns)) VALUES ($1, $2, $3, $4, $5, $6)
      """,
      [
        .integer(archive.lastSequence), .integer(archive.firstSequence), .blob(archive.lastHash),
        .text(archive.name), .text(archive.signedText), .blob(archive.signature),
      ])
    try await transaction.execute(
      "UPDATE change_sequence SET archived_audit_sequence = $1, archived_audit_hash = $2",
      [.integer(archive.lastSequence), .blob(archive.lastHash)])
    return true
  }
}
