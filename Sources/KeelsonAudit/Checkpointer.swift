import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// Signs checkpoints. Every node of a fleet may try; the rows are locked, so one of them makes it.
struct Checkpointer: Sendable {
  let database: any Database
  let key: SigningKey
  let limits: AuditLimits

  /// Signs a checkpoint over the newest entry.
  ///
  /// - Parameter onlyIfDue: only when the interval has passed, or enough entries have come.
  /// - Returns: nil when none was due.
  /// - Throws: `StoreError`, `CryptoError`.
  @discardableResult
  func make(onlyIfDue: Bool) async throws -> AuditCheckpoint? {
    let (dialect, key, limits) = (database.dialect, key, limits)
    return try await database.write { transaction in
      let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
      let last = try await AuditRepository.checkpoints(before: .max, limit: 1, in: transaction)
        .first
      let now = max(UnixTime.now, last?.time ?? UnixTime(microseconds: 0))
      if onlyIfDue, let last {
        let age = Duration.microseconds(now.microseconds - last.time.microseconds)
        guard
          age >= limits.checkpointInterval
            || head.audit.sequence - last.sequence >= limits.checkpointEntries
        else { return nil }
      }
      let checkpoint = try AuditCheckpoint(of: head.audit, at: now, after: last, signedBy: key)
      try await AuditRepository.insert(checkpoint, in: transaction)
      return checkpoint
    }
  }

  /// How long until the next one is due at the latest.
  func timeUntilDue() async throws -> Duration {
    let last = try await database.read {
      try await AuditRepository.checkpoints(before: .max, limit: 1, in: $0).first
    }
    guard let last else { return .zero }
    let age = Duration.microseconds(UnixTime.now.microseconds - last.time.microseconds)
    return max(.zero, limits.checkpointInterval - age)
  }
}
