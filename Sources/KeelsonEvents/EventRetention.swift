import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// Removes the events that the policy does not keep: on one server of the fleet at a time, in steps
/// between which changes go on.
final class EventRetention: Sendable {
  /// How many events are removed before the lease is taken anew.
  private static let eventsPerLease: Int64 = 50_000
  /// How long a server that was stopped in the middle keeps the others from going on.
  private static let leaseMicroseconds: Int64 = 120_000_000

  private let database: any Database
  private let telemetry: TelemetryEvents
  private let limits: EventLimits
  private let logger: Logger
  /// This server's name among those of the fleet.
  private let holder = UUIDv7.make()
  private let bell: (stream: AsyncStream<Void>, ring: AsyncStream<Void>.Continuation)

  init(
    database: any Database, telemetry: TelemetryEvents, limits: EventLimits, logger: Logger
  ) {
    self.database = database
    self.telemetry = telemetry
    self.limits = limits
    self.logger = logger
    let (stream, ring) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    bell = (stream, ring)
  }

  /// Applies the policy soon: it was changed.
  func wake() {
    bell.ring.yield()
  }

  /// Applies the policy at intervals, and when woken, until the task is cancelled.
  func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { [interval = limits.retentionInterval] in
        while !Task.isCancelled {
          self.wake()
          try? await Task.sleep(for: interval)
        }
      }
      for await _ in bell.stream {
        do {
          try await apply()
        } catch is CancellationError {
          break
        } catch {
          logger.log(
            .warning, "Old events could not be removed; it is tried again.",
            ["error": "\(error)"])
        }
      }
      group.cancelAll()
    }
  }

  /// Removes what the policy does not keep now.
  ///
  /// - Returns: how many events were removed; 0 also when another server is at it.
  /// - Throws: ``StoreError``; `CancellationError`.
  @discardableResult
  func apply(now: UnixTime = .now) async throws -> Int {
    var removed = 0
    while let end = try await nextStep(now: now), try await take() {
      removed += try await database.feed.compact(upTo: end)
    }
    guard removed > 0 else { return 0 }
    try await database.write { [holder] in try await RetentionRepository.release(holder, in: $0) }
    let oldest = try await database.feed.oldestRevision()
    logger.log(
      .info, "Removed old events.",
      ["events": "\(removed)", "oldest_revision": "\(oldest)"])
    let count = removed
    telemetry.publish(type: "keelson.events.EventsCompacted") {
      TelemetryEvent(
        type: "keelson.events.EventsCompacted", subject: "events",
        data: JSONText([
          "count": .number(Double(count)), "oldest_revision": .number(Double(oldest)),
        ]))
    }
    return removed
  }

  /// The revision up to which events are to be removed next; nil when all are kept.
  private func nextStep(now: UnixTime) async throws -> Int64? {
    try await database.read { [minimumAge = limits.minimumAge] transaction in
      let policy = try await RetentionRepository.policy(in: transaction)
      let bounds = try await EventRepository.bounds(in: transaction)
      var tooOld: Int64?
      if let time = policy.tooOld(now: now) {
        tooOld = try await RetentionRepository.newest(before: time, in: transaction)
      }
      // Times beyond now, of a clock that was wrong, say nothing about an event's age.
      let young = try await RetentionRepository.oldest(
        after: now - minimumAge, upTo: now, in: transaction)
      let end = policy.expired(last: bounds.last, tooOld: tooOld, young: young)
      guard end > bounds.compacted else { return nil }
      return min(end, bounds.compacted + EventRetention.eventsPerLease)
    }
  }

  private func take() async throws -> Bool {
    let now = UnixTime.now
    let end = UnixTime(microseconds: now.microseconds + EventRetention.leaseMicroseconds)
    return try await database.write { [holder] in
      try await RetentionRepository.take(holder, until: end, now: now, in: $0)
    }
  }
}
