import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization

extension AuditService {
  /// Makes the signing key known and reads the policy. Called once, before the first call.
  ///
  /// - Throws: `StoreError`.
  package func start() async throws {
    let key = AuditRepository.StoredKey(
      id: signingKey.verifyingKey.id, pem: signingKey.verifyingKey.pem, createTime: .now)
    try await database.write { try await AuditRepository.insert(key, in: $0) }
    try await database.feed.follow { transaction in
      try await AuditRepository.policy(in: transaction)
    } taking: { [self] stored in
      if let stored { policy.withLock { $0 = stored } }
    } _: { [self] events in
      follow(events)
    }
    await sweepArchives()
    try await checkpointer.make(onlyIfDue: true)
    startSequence.withLock { $0 = database.liveEvents.auditSequence }
    logger.log(
      .info, "The audit trail is open.",
      ["entries": "\(database.liveEvents.auditSequence)", "signing_key": key.id])
  }

  /// Signs checkpoints, archives, wakes tails and tells of new entries, until the task is
  /// cancelled.
  package func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.followEntries() }
      group.addTask { await self.beatHeartbeats() }
      group.addTask { await self.signAtIntervals() }
      group.addTask { await self.archiveAtIntervals() }
      group.addTask { await self.rewrapAtIntervals() }
    }
  }

  /// Ends all tails, so that their callers go to another server or come back later.
  package func stop() {
    tail.wakeAll(.closed)
  }

  /// What changes on other nodes too: the policy, and which subjects are erased.
  private func follow(_ events: [CommittedEvent]) {
    for event in events {
      switch event.type {
      case AuditEventType.retentionUpdated:
        if let new = try? API.RetentionPolicy(decoding: event.payload, limits: .reply) {
          policy.withLock { $0 = new }
        }
      case AuditEventType.subjectErased: subjects.forget(event.subject)
      default: break
      }
    }
  }

  private func followEntries() async {
    var told = startSequence.withLock { $0 }
    var checked = told
    while let newest = try? await database.liveEvents.waitForAudit(after: told) {
      tail.wakeAll(.entries)
      await publish(after: told, upTo: newest)
      told = newest
      if newest - checked >= limits.checkpointEntries {
        checked = newest
        await sign()
      }
    }
    // The database has closed, or the server stops: no more entries come.
    tail.wakeAll(.closed)
  }

  /// Tells of entries to whoever listens; to nobody costs nothing.
  private func publish(after sequence: Int64, upTo newest: Int64) async {
    guard telemetry.hasListeners else { return }
    var position = sequence
    while position < newest {
      guard let entries = try? await tail.entries(after: position), let last = entries.last
      else { return }
      for entry in entries where entry.sequence <= newest {
        telemetry.publish(type: AuditEventType.logCreated) {
          TelemetryEvent(
            type: AuditEventType.logCreated, subject: entry.id,
            data: JSONText([
              "sequence": JSONValue(number: entry.sequence), "action": .string(entry.action),
              "entity_type": .string(entry.entityType), "category": .string(entry.category),
              "outcome": .string(entry.outcome.rawValue),
            ]),
            origin: ChangeOrigin(actor: entry.actor, correlationID: entry.correlationID))
        }
      }
      position = last.sequence
    }
  }

  private func beatHeartbeats() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: limits.heartbeatInterval)
      if !Task.isCancelled { tail.wakeAll(.heartbeat) }
    }
  }

  /// How long to wait after a failure.
  private static let pause = Duration.seconds(30)

  private func signAtIntervals() async {
    while !Task.isCancelled {
      let wait = (try? await checkpointer.timeUntilDue()) ?? Self.pause
      // A little later than due: a clock of another node may be behind.
      try? await Task.sleep(for: wait + .milliseconds(100))
      if !Task.isCancelled, await !sign() { try? await Task.sleep(for: Self.pause) }
    }
  }

  /// Signs a checkpoint if one is due.
  @discardableResult
  private func sign() async -> Bool {
    do {
      if let checkpoint = try await checkpointer.make(onlyIfDue: true) {
        logger.log(
          .debug, "Signed a checkpoint of the audit trail.",
          ["number": "\(checkpoint.number)", "sequence": "\(checkpoint.sequence)"])
      }
      return true
    } catch {
      logger.log(
        .error, "A checkpoint of the audit trail could not be signed.", ["error": "\(error)"])
      return false
    }
  }

  private func archiveAtIntervals() async {
    // At once after the start, then at the interval.
    var last: ContinuousClock.Instant?
    while !Task.isCancelled {
      // The policy may change meanwhile, so the wait is in short steps.
      try? await Task.sleep(for: Self.pause)
      let interval = policy.withLock { $0.archiveInterval?.seconds ?? 0 }
      guard !Task.isCancelled, interval > 0,
        last.map({ .now - $0 >= .seconds(interval) }) ?? true
      else { continue }
      last = .now
      do {
        let result = try await archive(before: nil, origin: .system())
        guard result.archived > 0 || result.deleted > 0 else { continue }
        logger.log(
          .info, "Archived audit entries.",
          [
            "archived": "\(result.archived)", "deleted": "\(result.deleted)",
            "archives": result.archives.map(\.name).joined(separator: ", "),
          ])
      } catch {
        logger.log(.error, "Archiving audit entries failed.", ["error": "\(error)"])
      }
    }
  }

  /// Wraps the keys of subjects anew when the key that wraps has changed.
  private func rewrapAtIntervals() async {
    while !Task.isCancelled {
      do {
        let count = try await subjects.rewrap()
        if count > 0 {
          logger.log(
            .info, "Wrapped the keys of subjects anew, with the current key.", ["keys": "\(count)"])
        }
      } catch {
        logger.log(
          .warning, "The keys of subjects could not be wrapped anew.", ["error": "\(error)"])
      }
      try? await Task.sleep(for: limits.rewrapInterval)
    }
  }

  /// How old a file has to be that no archive's row names: a younger one may be another server's
  /// that shares the folder.
  private static let orphanSeconds = 3_600

  /// Takes away what archiving that was cut off has left half written. A whole file that the
  /// database does not know stays: after a restore of an older copy it may be the only one that has
  /// its entries.
  func sweepArchives() async {
    do {
      let folder = configuration.archiveFolder
      let old = try await offLoop { try AuditFolder.files(in: folder) }
        .filter { $0.name.hasPrefix("audit-") && $0.age > Self.orphanSeconds }.map(\.name)
      let unfinished = old.filter { $0.hasSuffix(".new") }
      AuditFolder.remove(unfinished.map { "\(folder)/\($0)" })
      for name in old where name.hasSuffix(".ndjson.gz") {
        let row = try await database.read { try await AuditRepository.archive(named: name, in: $0) }
        guard row == nil else { continue }
        logger.log(
          .warning,
          "A file in the folder of archives is none that the database knows: it was left by "
            + "archiving that was cut off, or by a database that is newer than this one. Remove it "
            + "when its entries are in the trail.",
          ["file": name])
      }
    } catch {
      logger.log(
        .warning, "The folder of archives could not be looked through.", ["error": "\(error)"])
    }
  }
}
