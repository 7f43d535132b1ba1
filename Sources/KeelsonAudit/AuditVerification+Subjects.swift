import KeelsonAuditTrail
import KeelsonStore

extension AuditVerification {
  /// Each key that entries name has its row: without it nobody can tell whether it was erased.
  ///
  /// - Parameter entries: some that follow one another in the table.
  func checkSubjects(of entries: [AuditEntry]) async throws {
    guard let first = entries.first, let last = entries.last,
      entries.contains(where: { !$0.subjectKeyID.isEmpty })
    else { return }
    let found = try await database.read {
      try await AuditRepository.entryWithoutKey(
        from: first.sequence, upTo: last.sequence, in: $0)
    }
    guard let found else { return }
    throw AuditChainBreak(
      sequence: found.sequence, kind: .content,
      message: """
        The key \(found.keyID), under which personal data of entry \(found.sequence) is encrypted, \
        is not in the database: it was taken away, and not by an erasure.
        """)
  }

  /// Each destroyed key has the entry that says who asked for that. Where files of archives do not
  /// lie here, the entry may be in one of those.
  func checkErasures(_ walk: VerificationWalk) async throws {
    guard walk.report.unreadArchiveCount == 0 else { return }
    var position = ""
    while true {
      try Task.checkCancellation()
      let after = position
      let page = try await database.read {
        try await AuditRepository.erasedWithoutEntry(after: after, limit: Self.pageSize, in: $0)
      }
      for keyID in page where !walk.archivedErasures.contains(keyID) {
        let sequence = try await database.read {
          try await AuditRepository.firstEntry(ofKey: keyID, in: $0)
        }
        throw AuditChainBreak(
          sequence: sequence, kind: .content,
          message: """
            The key \(keyID) of a subject was destroyed, and no entry says that it was asked for: \
            personal data was made unreadable past EraseSubject.
            """)
      }
      guard page.count == Self.pageSize, let last = page.last else { return }
      position = last
    }
  }
}

extension AuditEntry {
  /// The server wrote it about the erasure of a subject, whose key's id is the entity's.
  var isErasure: Bool {
    action == AuditRepository.erasureAction && entityType == AuditRepository.erasureEntityType
      && recorder.isEmpty
  }
}

extension AuditRepository {
  static let erasureAction = "audit.subject_erased"
  static let erasureEntityType = "audit_subject"
  /// Of entries, that one is about an erasure. One that a caller recorded has a recorder.
  static let isErasure = """
    action = '\(erasureAction)' AND entity_type = '\(erasureEntityType)' AND recorder = ''
    """

  /// The first entry in a range whose key has no row.
  static func entryWithoutKey(
    from first: Int64, upTo last: Int64, in transaction: any Transaction
  ) async throws -> (sequence: Int64, keyID: String)? {
    try await transaction.first(
      """
      SELECT sequence, subject_key_id FROM audit_entries
      WHERE sequence >= $1 AND sequence <= $2 AND subject_key_id <> '' AND NOT EXISTS (
        SELECT 1 FROM audit_subjects WHERE key_id = audit_entries.subject_key_id)
      ORDER BY sequence LIMIT 1
      """, [.integer(first), .integer(last)]
    ).map { (try $0.get(0), try $0.get(1)) }
  }

  /// Destroyed keys above an id about which no entry is kept.
  static func erasedWithoutEntry(
    after keyID: String, limit: Int, in transaction: any Transaction
  ) async throws -> [String] {
    try await transaction.query(
      """
      SELECT key_id FROM audit_subjects
      WHERE key_id > $1 AND wrapped_key IS NULL AND NOT EXISTS (
        SELECT 1 FROM audit_entries WHERE entity_id = audit_subjects.key_id AND \(isErasure))
      ORDER BY key_id LIMIT $2
      """, [.text(keyID), SQLValue(limit)]
    ).map { try $0.get(0) }
  }

  /// The first kept entry that is encrypted under a key; 0 without one.
  static func firstEntry(ofKey keyID: String, in transaction: any Transaction) async throws
    -> Int64
  {
    let row = try await transaction.first(
      """
      SELECT coalesce(min(sequence), 0) FROM audit_entries
      WHERE subject_key_id = $1 AND subject_key_id <> ''
      """, [.text(keyID)])
    return try row?.get(0) ?? 0
  }
}
