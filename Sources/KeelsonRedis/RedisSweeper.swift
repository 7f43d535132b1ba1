import KeelsonCacheRules
import KeelsonCore
import KeelsonTransport
import Synchronization

/// Frees what is void in Redis, and makes room when it is full; one server at a time does, by a lock that
/// ends by itself when that server has gone. Confined to the link's loop.
///
/// `@unchecked Sendable`: touched on the link's loop only, but for ``evictions``, which is atomic,
/// and `task`, which has its own lock.
final class RedisSweeper: @unchecked Sendable {
  private let link: RedisLink
  private let logger: Logger
  private var isBusy = false
  private let task = Mutex<Task<Void, Never>?>(nil)
  /// While nothing of the cache's could be evicted: when it is tried again.
  private var nextEviction: Int64 = 0
  /// Entries that this server has evicted.
  let evictions = Atomic<Int>(0)

  /// How long a lock lasts without being held on to.
  private static let lockMilliseconds = 10_000
  /// Keys that one SCAN looks at, and that one script frees: a millisecond of Redis's time.
  private static let scanned = 1_000
  private static let freed = 250
  /// Keys that one script looks at to evict a quarter of them.
  private static let sampled = 200
  /// So many samples to one look at the memory.
  private static let samplesPerLook = 10
  private static let evictionPause: Int64 = 30_000_000_000

  init(_ link: RedisLink, logger: Logger) {
    self.link = link
    self.logger = logger
  }

  /// Does what there is to do. On the loop.
  func looked(_ look: RedisLook) {
    let isFull = link.gauge.isFull && MonotonicTime.now >= nextEviction
    guard !isBusy, look.wantsSweep || isFull else { return }
    isBusy = true
    let task = Task(executorPreference: link.loop) { [self] in
      defer { isBusy = false }
      guard let control = link.control else { return }
      if look.wantsSweep {
        // What is void goes first.
        await attempt(CacheNames.sweep, control) { () throws(RedisError) in
          try await sweep(look, control)
        }
      }
      if link.gauge.isFull, isFull {
        await attempt(CacheNames.eviction, control) { () throws(RedisError) in
          try await evict(control)
        }
      }
    }
    self.task.withLock { $0 = task }
  }

  /// Breaks off what it does, and returns when that has ended. The link is closed by then.
  func end() async {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
  }

  private func attempt(
    _ lock: String, _ control: RedisConnection, _ body: () async throws(RedisError) -> Void
  ) async {
    do {
      try await whileLocked(lock, control, body)
    } catch {
      // The next look begins anew, here or on another server.
      logger.log(.debug, "A sweep of the cache in Redis has not ended: \(error.message)")
    }
  }

  private func whileLocked(
    _ name: String, _ control: RedisConnection, _ body: () async throws(RedisError) -> Void
  ) async throws(RedisError) {
    let lock = try await link.runPlain(.lock, keys: 2, arguments: 1, on: control) {
      $0.append(CacheNames.meta)
      $0.append(name)
      $0.append(Self.lockMilliseconds)
    }
    guard !lock.isNull else { return }
    do throws(RedisError) {
      try await body()
    } catch {
      _ = try? await control.ask(RedisCommand("DEL", name))
      throw error
    }
    // Held by another by now if this took too long: then two sweep, which does no harm.
    _ = try await control.ask(RedisCommand("DEL", name)).checked()
  }

  private static func hold(_ name: String) -> RedisCommand {
    RedisCommand("PEXPIRE", name, "\(lockMilliseconds)")
  }

  // MARK: Sweeping

  private func sweep(_ look: RedisLook, _ control: RedisConnection) async throws(RedisError) {
    guard let view = link.known.view, view.epoch == look.epoch else { return }
    let plan = SweepPlan(view, swept: look.swept)
    guard !plan.isEmpty else { return }
    // Leases first: once they are gone nothing void can be stored behind the sweep's back.
    var pace = SweepPace()
    try await sweep(plan, CacheNames.lease, kind: "l", control, &pace)
    try await sweep(plan, CacheNames.entry, kind: "e", control, &pace)
    _ = try await link.run(.drop, keys: 2, arguments: 4, on: control, epoch: plan.epoch) {
      $0.append(CacheNames.meta)
      $0.append(CacheNames.bans)
    } arguments: {
      $0.append(plan.upTo)
      $0.append(plan.floor)
    }
    logger.log(
      .debug, "The cache in Redis was swept.",
      ["worked": "\(pace.worked)", "rested": "\(pace.rested)"])
  }

  private func sweep(
    _ plan: SweepPlan, _ prefix: StaticString, kind: String, _ control: RedisConnection,
    _ pace: inout SweepPace
  ) async throws(RedisError) {
    var cursor = "0"
    repeat {
      let began = ContinuousClock.now
      let replies = try await control.ask([
        RedisCommand(
          "SCAN", cursor, "MATCH", "\(prefix)\(plan.match)", "COUNT", "\(Self.scanned)"),
        Self.hold(CacheNames.sweep),
      ])
      guard let parts = try replies[0].checked().array, parts.count == 2,
        let next = parts[0].text, let names = parts[1].array
      else { return }
      cursor = next
      var found: [(name: [UInt8], limit: UInt64)] = []
      for name in names.lazy.compactMap(\.bytes) {
        guard let key = CacheNames.key(name, after: prefix), let limit = plan.limit(of: key)
        else { continue }
        found.append((name, limit))
      }
      for start in stride(from: 0, to: found.count, by: Self.freed) {
        let slice = found[start..<min(start + Self.freed, found.count)]
        try await free(slice, kind: kind, epoch: plan.epoch, control)
      }
      let isUrgent = link.known.bans * 2 > link.configuration.limits.view.bans
      do {
        try await Task.sleep(for: pace.rest(after: began.duration(to: .now), isUrgent: isUrgent))
      } catch {
        throw .shuttingDown
      }
    } while cursor != "0"
  }

  private func free(
    _ found: ArraySlice<(name: [UInt8], limit: UInt64)>, kind: String, epoch: UInt64,
    _ control: RedisConnection
  ) async throws(RedisError) {
    _ = try await link.run(
      .void, keys: 1 + found.count, arguments: 4 + found.count, on: control, epoch: epoch
    ) {
      $0.append(CacheNames.meta)
      for (name, _) in found { $0.append(name) }
    } arguments: {
      $0.append(kind)
      $0.append(bytes: 8) { EntryBlob.append(epoch, to: &$0) }
      for (_, limit) in found { $0.append(limit) }
    }
  }

  // MARK: Making room

  private func evict(_ control: RedisConnection) async throws(RedisError) {
    var cursor = "0"
    var evictedInRound = 0
    while !link.gauge.isFreed {
      for _ in 0..<Self.samplesPerLook {
        let reply = try await link.runPlain(.evict, keys: 0, arguments: 3, on: control) {
          $0.append(cursor)
          $0.append("\(CacheNames.entry)*")
          $0.append(Self.sampled)
        }
        guard let parts = reply.array, parts.count == 2, let next = parts[0].text,
          let count = parts[1].number
        else { return }
        cursor = next
        evictions.wrappingAdd(Int(count), ordering: .relaxed)
        evictedInRound += Int(count)
        if cursor == "0" {
          // Redis is full of something else.
          guard evictedInRound > 0 else {
            nextEviction = MonotonicTime.now + Self.evictionPause
            logger.log(
              .warning,
              "The cache's Redis is full, and not of the cache's entries: nothing is stored in it.")
            return
          }
          evictedInRound = 0
        }
      }
      let replies = try await control.ask([
        RedisCommand("INFO", "memory"), Self.hold(CacheNames.eviction),
      ])
      link.gauge.takeMemory(
        try RedisInformation(replies[0]), limits: link.configuration.limits)
    }
  }
}
