import KeelsonCacheRules
import KeelsonCore
import KeelsonTransport
import Synchronization

/// Frees what is void in Redis, and makes room when it is full; one server at a time does, by a lock that
/// ends by itself when that server has gone. Confined to the link's loop.
///
/// `@unchecked Sendable`: touched on the link's loop only, but for ``evictions``, which is atomic,
/// and `tasks`, which has its own lock.
final class RedisSweeper: @unchecked Sendable {
  private let link: RedisLink
  private let logger: Logger
  private var isSweeping = false
  private var isEvicting = false
  private let tasks = Mutex<(sweep: Task<Void, Never>?, eviction: Task<Void, Never>?)>((nil, nil))
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
    guard let control = link.control else { return }
    if look.wantsSweep, !isSweeping {
      isSweeping = true
      let task = Task(executorPreference: link.loop) { [self] in
        defer { isSweeping = false }
        await attempt(CacheNames.sweep, control) { () throws(RedisError) in
          try await sweep(look, control)
        }
      }
      tasks.withLock { $0.sweep = task }
    }
    // Not behind a sweep, which rests and may take long: nothing is stored until there is room.
    if link.gauge.isFull, MonotonicTime.now >= nextEviction, !isEvicting {
      isEvicting = true
      let task = Task(executorPreference: link.loop) { [self] in
        defer { isEvicting = false }
        await attempt(CacheNames.eviction, control) { () throws(RedisError) in
          try await evict(control)
        }
      }
      tasks.withLock { $0.eviction = task }
    }
  }

  /// Breaks off what it does, and returns when that has ended. The link is closed by then.
  func end() async {
    let (sweep, eviction) = tasks.withLock { $0 }
    sweep?.cancel()
    eviction?.cancel()
    await sweep?.value
    await eviction?.value
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
    let plan = await withTaskExecutorPreference(globalConcurrentExecutor) {
      SweepPlan(view, floor: look.floor, swept: look.swept)
    }
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
      // Not on the loop: many names and many patterns would keep it from all else.
      let found = await withTaskExecutorPreference(globalConcurrentExecutor) {
        plan.suspects(names, after: prefix)
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
    _ found: ArraySlice<SweepPlan.Suspect>, kind: String, epoch: UInt64, _ control: RedisConnection
  ) async throws(RedisError) {
    _ = try await link.run(
      .void, keys: 1 + found.count, arguments: 4 + found.count, on: control, epoch: epoch
    ) {
      $0.append(CacheNames.meta)
      for suspect in found { $0.append(suspect.name) }
    } arguments: {
      $0.append(kind)
      $0.append(bytes: 8) { EntryBlob.append(epoch, to: &$0) }
      for suspect in found { $0.append(suspect.limit) }
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
