import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization

/// The keys of all subjects: one for each person, wrapped by the server's key encryption keys in
/// the table, and for a while unwrapped in memory.
final class SubjectKeys: Sendable {
  /// What is known of a key's id.
  enum Known: Sendable {
    case key(SubjectKey)
    case erased
    /// It is there, and this server cannot unwrap it.
    case unreadable
  }

  private struct State {
    var byID: [String: Known] = [:]
    var idsBySubject: [String: String] = [:]
    /// How many keys were forgotten: one that was read before may be one of them.
    var erasures = 0
    /// Those of which the log has said that they cannot be unwrapped.
    var lamented: Set<String> = []

    mutating func makeRoom(_ capacity: Int) {
      guard byID.count >= capacity else { return }
      byID = [:]
      idsBySubject = [:]
    }
  }

  private let database: any Database
  private let keyEncryptionKeys: (any KeyEncryptionKeys)?
  private let limits: AuditLimits
  private let logger: Logger
  private let state = Mutex(State())

  init(
    database: any Database, keyEncryptionKeys: (any KeyEncryptionKeys)?, limits: AuditLimits,
    logger: Logger
  ) {
    self.logger = logger
    self.database = database
    self.keyEncryptionKeys = keyEncryptionKeys
    self.limits = limits
  }

  /// The key of a subject; nil when there is none, or it was erased.
  ///
  /// - Throws: `RPCError`.
  func key(of subject: String) async throws -> SubjectKey? {
    let cached = state.withLock { state in
      state.idsBySubject[subject].flatMap { state.byID[$0] }
    }
    if case .key(let key)? = cached { return key }
    let erasures = state.withLock { $0.erasures }
    let row = try await read {
      try await $0.first(
        """
        SELECT key_id, subject, wrapping_key_id, wrapped_key FROM audit_subjects
        WHERE subject = $1
        """, [.text(subject)])
    }
    guard let row, case .key(let key) = try await known(row, erasures: erasures)
    else { return nil }
    return key
  }

  /// The key of a subject, made when there is none.
  ///
  /// - Throws: `RPCError` FAILED_PRECONDITION when the server has nothing to wrap keys with.
  func makeKey(of subject: String) async throws -> SubjectKey {
    if let key = try await key(of: subject) { return key }
    guard let keyEncryptionKeys else {
      throw RPCError(
        .failedPrecondition,
        "Entries with a subject need encryption keys, and this server has none: give it some "
          + "(docs/operations.md, Encryption keys), or record without a subject.")
    }
    let time = UnixTime.now
    let id = UUIDv7.make(at: time)
    do {
      let wrapped = try await keyEncryptionKeys.wrap(try AES256GCM.makeKey())
      try await database.write { transaction in
        // Another call, on whatever node, may have been quicker: then its key is the one.
        let made = try await transaction.first(
          "SELECT 1 FROM audit_subjects WHERE subject = $1", [.text(subject)])
        guard made == nil else { return }
        try await transaction.execute(
          """
          INSERT INTO audit_subjects (key_id, subject, wrapping_key_id, wrapped_key, create_time)
          VALUES ($1, $2, $3, $4, $5) ON CONFLICT (subject) DO NOTHING
          """,
          [
            .text(id), .text(subject), .text(wrapped.keyID), .blob(wrapped.bytes),
            SQLValue(time),
          ])
      }
    } catch {
      throw Self.readable(error)
    }
    guard let key = try await key(of: subject) else {
      throw RPCError(.aborted, "The subject was erased meanwhile; repeat the call.")
    }
    return key
  }

  /// What is known of the keys that entries name. One that cannot be unwrapped is said once in the
  /// log.
  ///
  /// - Throws: `RPCError` UNAVAILABLE when the keys cannot be reached just now.
  func known(_ ids: Set<String>) async throws -> [String: Known] {
    var known: [String: Known] = [:]
    for id in ids where !id.isEmpty {
      if let cached = state.withLock({ $0.byID[id] }) {
        known[id] = cached
        continue
      }
      let erasures = state.withLock { $0.erasures }
      let row = try await read {
        try await $0.first(
          """
          SELECT key_id, subject, wrapping_key_id, wrapped_key FROM audit_subjects
          WHERE key_id = $1
          """, [.text(id)])
      }
      guard let row else {
        lament(id, RPCError(.failedPrecondition, "It is not in the database: verify the trail."))
        continue
      }
      do {
        known[id] = try await self.known(row, erasures: erasures)
      } catch let error as RPCError where error.code == .failedPrecondition {
        known[id] = .unreadable
        lament(id, error)
      }
    }
    return known
  }

  private func lament(_ id: String, _ error: RPCError) {
    let isNew = state.withLock { state in
      if state.lamented.count >= limits.cachedSubjects { state.lamented = [] }
      return state.lamented.insert(id).inserted
    }
    guard isNew else { return }
    logger.log(
      .error, "The key of a subject cannot be unwrapped, so its entries are shown unreadable.",
      ["subject_key": id, "error": "\(error.cause ?? error.message)"])
  }

  /// Those of some keys that have been destroyed. Asked where the head is held, so that nothing is
  /// sealed under a key whose subject has been told that it is erased.
  func erased(
    among ids: Set<String>, in transaction: any Transaction
  ) async throws -> Set<String> {
    var erased: Set<String> = []
    for id in ids {
      let row = try await transaction.first(
        "SELECT 1 FROM audit_subjects WHERE key_id = $1 AND wrapped_key IS NOT NULL", [.text(id)])
      guard row == nil else { continue }
      erased.insert(id)
      // Another node erased it, and this one has not heard of it.
      forget(id)
    }
    return erased
  }

  /// Forgets a key, because it was erased here or on another node.
  func forget(_ id: String) {
    state.withLock { state in
      if case .key(let key)? = state.byID[id] { state.idsBySubject[key.subject] = nil }
      state.erasures += 1
      state.makeRoom(limits.cachedSubjects)
      state.byID[id] = .erased
    }
  }

  /// - Parameter erasures: how many there had been before the row was read.
  private func known(_ row: Row, erasures: Int) async throws -> Known {
    let id: String = try row.get(0)
    guard let subject: String = try row.get(1), let wrappingID: String = try row.get(2),
      let wrapped: [UInt8] = try row.get(3)
    else {
      forget(id)
      return .erased
    }
    guard let keyEncryptionKeys else {
      throw RPCError(
        .failedPrecondition,
        "Some entries are encrypted, and this server has no encryption keys: give it those under "
          + "which they were recorded (docs/operations.md, Encryption keys).")
    }
    do {
      let key = SubjectKey(
        id: id, subject: subject,
        key: try await keyEncryptionKeys.unwrap(WrappedKey(keyID: wrappingID, bytes: wrapped)))
      state.withLock { state in
        // An erasure that came in between wins. Which key it was may be forgotten already, so one
        // that was read before any erasure is not kept.
        guard state.erasures == erasures else { return }
        state.makeRoom(limits.cachedSubjects)
        state.byID[id] = .key(key)
        state.idsBySubject[subject] = id
      }
      return .key(key)
    } catch {
      throw Self.readable(error)
    }
  }

  // MARK: Rotation

  private static let rewrapStep = 100

  /// Wraps keys with the current key that another one wraps, so that the other can be retired. One
  /// that cannot be unwrapped stays as it is, and is said in the log.
  ///
  /// - Returns: how many.
  /// - Throws: `StoreError`; `CryptoError` when the keys cannot be reached.
  func rewrap() async throws -> Int {
    guard let keyEncryptionKeys else { return 0 }
    try await keyEncryptionKeys.refresh()
    let current = keyEncryptionKeys.currentID
    var count = 0
    var position = ""
    while true {
      let after = position
      let rows = try await database.read {
        try await $0.query(
          """
          SELECT key_id, wrapping_key_id, wrapped_key FROM audit_subjects
          WHERE key_id > $1 AND wrapped_key IS NOT NULL AND wrapping_key_id <> $2
          ORDER BY key_id LIMIT \(Self.rewrapStep)
          """, [.text(after), .text(current)])
      }
      for row in rows {
        try Task.checkCancellation()
        let (id, old) = (try row.get(0, as: String.self), try row.get(1, as: String.self))
        position = id
        let new: WrappedKey
        do {
          let key = try await keyEncryptionKeys.unwrap(
            WrappedKey(keyID: old, bytes: try row.get(2)))
          new = try await keyEncryptionKeys.wrap(key)
          guard new.keyID != old else { continue }
        } catch let error as CryptoError where error.code != .unavailable {
          lament(id, RPCError(.failedPrecondition, error.message))
          continue
        }
        // Unless it was erased, or wrapped by another server, meanwhile.
        count += try await database.write {
          try await $0.execute(
            """
            UPDATE audit_subjects SET wrapping_key_id = $2, wrapped_key = $3
            WHERE key_id = $1 AND wrapping_key_id = $4
            """, [.text(id), .text(new.keyID), .blob(new.bytes), .text(old)])
        }
      }
      guard rows.count == Self.rewrapStep else { return count }
    }
  }

  private func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch {
      throw Self.readable(error)
    }
  }

  private static func readable(_ error: any Error) -> any Error {
    switch error {
    case let error as StoreError: RPCError(error)
    case let error as CryptoError where error.code == .unavailable:
      RPCError(
        .unavailable, "The keys that protect personal data cannot be reached right now. Try again.",
        details: [.retryInfo(.seconds(5))], cause: "\(error)")
    case let error as CryptoError:
      RPCError(
        .failedPrecondition,
        "The keys that protect personal data cannot be used; the server's log says why.",
        cause: "\(error)")
    default: error
    }
  }
}
