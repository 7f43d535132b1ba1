import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// Signs checkpoints. Every node of a fleet may try; the rows are locked, so one of them makes it.
struct Checkpointer: Sendable {
  let database: any Database
  let key: SigningKey
  let limits: AuditLimits
  let logger: Logger

  /// How far the clocks of a fleet's servers may be apart. A checkpoint from further in the future
  /// was signed by a clock that was wrong, and must not keep the next ones waiting.
  private static let clockTolerance = Duration.seconds(60)

  /// Signs a checkpoint over the newest entry.
  ///
  /// - Parameters:
  ///   - onlyIfDue: only when the interval has passed, or enough entries have come.
  ///   - origin: who asks for it: that is recorded, and covered by the checkpoint.
  /// - Returns: nil when none was due.
  /// - Throws: `StoreError`, `CryptoError`.
  @discardableResult
  func make(
    onlyIfDue: Bool, askedBy origin: ChangeOrigin? = nil
  ) async throws -> AuditCheckpoint? {
    let (dialect, key, limits) = (database.dialect, key, limits)
    let (checkpoint, isAfterFuture) = try await database.write {
      transaction -> (AuditCheckpoint?, Bool) in
      let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
      let last = try await AuditRepository.checkpoints(before: .max, limit: 1, in: transaction)
        .first
      let age = last.map { Self.age(of: $0) } ?? .zero
      let isAfterFuture = age < .zero - Self.clockTolerance
      if onlyIfDue, let last, !isAfterFuture {
        guard
          age >= limits.checkpointInterval
            || head.audit.sequence - last.sequence >= limits.checkpointEntries
        else { return (nil, false) }
      }
      var end = head.audit
      if let origin {
        let entry = Self.entry(about: (last?.number ?? 0) + 1, origin)
        for placed in try await transaction.append([entry], after: head) {
          end = AuditChain(sequence: placed.sequence, hash: placed.hash)
        }
      }
      let now = isAfterFuture ? .now : max(UnixTime.now, last?.time ?? .init(microseconds: 0))
      let checkpoint = try AuditCheckpoint(of: end, at: now, after: last, signedBy: key)
      try await AuditRepository.insert(checkpoint, in: transaction)
      return (checkpoint, isAfterFuture)
    }
    if isAfterFuture, let checkpoint {
      logger.log(
        .warning,
        "The checkpoint before this one is dated in the future: the clock of the server that signed "
          + "it was wrong, or this one's is.",
        ["number": "\(checkpoint.number)"])
    }
    return checkpoint
  }

  private static func age(of checkpoint: AuditCheckpoint) -> Duration {
    .microseconds(UnixTime.now.microseconds - checkpoint.time.microseconds)
  }

  private static func entry(about number: Int64, _ origin: ChangeOrigin) -> AuditEntry {
    AuditEntry(
      id: UUIDv7.make(), time: .now, actor: origin.actor, action: "audit.checkpoint_created",
      entityType: "audit_checkpoint", entityID: "\(number)", category: "critical",
      outcome: .success, correlationID: origin.correlationID, peer: origin.peer,
      userAgent: origin.userAgent)
  }

  /// How long until the next one is due at the latest.
  func timeUntilDue() async throws -> Duration {
    let last = try await database.read {
      try await AuditRepository.checkpoints(before: .max, limit: 1, in: $0).first
    }
    guard let last else { return .zero }
    let age = Self.age(of: last)
    return age < .zero - Self.clockTolerance ? .zero : max(.zero, limits.checkpointInterval - age)
  }
}
