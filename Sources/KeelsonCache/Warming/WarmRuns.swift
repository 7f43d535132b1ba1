import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

/// The loadings of warm sets: in the database those of all servers, here those of this one.
///
/// A server that loads says so in the database ten times in a lease; whoever finds a lease that has
/// ended says that the run is lost. Events tell the other servers of what was called off and what has
/// ended; they also look by themselves, as often as progress is written.
final class WarmRuns: Sendable {
  typealias WarmSet = KeelsonCacheV1.WarmSet
  typealias Run = KeelsonCacheV1.WarmSetRun

  private struct Entry {
    let run: Watchable<Run>
    let task: Task<Void, Never>
  }

  private struct State {
    /// What this server loads, by the runs' ids.
    var entries: [String: Entry] = [:]
    /// Runs that this server is about to begin.
    var beginning = 0
    var isStopped = false
  }

  let database: any Database
  let loader: WarmLoader
  let limits: CacheLimits
  let logger: Logger
  /// Whether all servers of the database have one cache.
  private let isShared: Bool
  /// This process: the runs of an earlier one of this server are not its own.
  private let owner = UUIDv7.make()
  private let state = Mutex(State())
  /// Counts what was heard of runs that were called off or have ended.
  private let news = Watchable(0)

  /// How often a run tells how far it is, and is looked at by other servers.
  var interval: Duration { limits.warmLease / 10 }

  init(
    database: any Database, loader: WarmLoader, isShared: Bool, limits: CacheLimits, logger: Logger
  ) {
    self.database = database
    self.loader = loader
    self.isShared = isShared
    self.limits = limits
    self.logger = logger
    database.feed.observe { [weak self] in self?.take($0) }
  }

  /// Thrown out of a change that has nothing to do any more.
  struct Settled: Error {
    var run: Run?
  }

  /// Begins to load a set, unless it is being loaded.
  ///
  /// - Parameter isOnStart: by the server itself: what is fresh already is left, what other servers
  ///   load is no reason not to, and the number of runs is not limited.
  /// - Returns: the run.
  /// - Throws: `RPCError` NOT_FOUND, RESOURCE_EXHAUSTED when too many run here, UNAVAILABLE when the
  ///   server stops; `StoreError`.
  func start(_ name: String, origin: ChangeOrigin, isOnStart: Bool = false) async throws -> Run {
    await sweep()
    let (known, _) = try await database.read { transaction in
      try await (
        self.joined(name, isOnStart, in: transaction), WarmSets.require(name, in: transaction)
      )
    }
    if let known { return known }
    try reserve(isLimited: !isOnStart)
    defer { state.withLock { $0.beginning -= 1 } }
    do {
      let dialect = database.dialect
      let (set, run) = try await database.change(origin) { [self] change in
        let set = try await WarmSets.require(name, in: change)
        let now = try await ChangeHead.current(in: change, dialect).time
        if let run = try await joined(name, isOnStart, in: change) { throw Settled(run: run) }
        var run = Run()
        run.warmSet = name
        run.id = UUIDv7.make(at: change.time)
        run.state = .running
        run.total = Int32(clamping: set.entries.count)
        run.startTime = .init(change.time)
        run.actor = origin.actor
        try await WarmRunRepository.insert(
          run, owner: owner, until: now + limits.warmLease, kept: limits.warmRunHistory,
          change)
        change.recordStart(of: run)
        return (set, run)
      }
      begin(set, run, origin, keepsFresh: isOnStart)
      return run
    } catch let settled as Settled {
      guard let run = settled.run else { throw settled }
      return run
    }
  }

  /// The run that takes the place of one that is to be begun.
  private func joined(
    _ set: String, _ isOnStart: Bool, in transaction: any Transaction
  ) async throws -> Run? {
    let running = try await WarmRunRepository.running(of: set, in: transaction)
    let found = running.first { run in
      !run.isCancelled && (run.owner == owner || (isShared && !isOnStart))
    }
    guard let run = found?.run else { return nil }
    return state.withLock { $0.entries[run.id] }?.run.value ?? run
  }

  private func reserve(isLimited: Bool) throws(RPCError) {
    try state.withLock { state throws(RPCError) in
      guard !state.isStopped else {
        throw RPCError(
          .unavailable, "This server is stopping; start it on another.",
          details: [.retryInfo(.seconds(1))])
      }
      let count = state.entries.count + state.beginning
      guard !isLimited || count < limits.warmRuns else {
        throw RPCError(
          .resourceExhausted,
          "\(count) warm sets are being loaded, the limit 'cache-warm-runs'. Try again.",
          details: [.retryInfo(.seconds(1))])
      }
      state.beginning += 1
    }
  }

  private func begin(
    _ set: WarmSet, _ run: Run, _ origin: ChangeOrigin, keepsFresh: Bool
  ) {
    let watchable = Watchable(run)
    state.withLock { state in
      // The call that has begun it ends before, and so does its deadline.
      let task = Task.detached { [self] in
        await carryOut(set, watchable, origin, keepsFresh: keepsFresh)
        self.state.withLock { $0.entries[run.id] = nil }
      }
      state.entries[run.id] = Entry(run: watchable, task: task)
      if state.isStopped { task.cancel() }
    }
  }

  /// A run of a set, of any server; nil when there is none.
  ///
  /// - Parameter id: empty: one that has not ended, or else the newest.
  func find(_ id: String, of set: String) async throws -> Run? {
    try await database.read { try await WarmRunRepository.run(id, of: set, in: $0)?.run }
  }

  /// Calls back with how far a run is, whichever server's, until it has ended.
  ///
  /// - Parameter deadline: when to stop listening to what is not heard of here.
  /// - Throws: `RPCError` NOT_FOUND when it is forgotten meanwhile; what `send` throws; `StoreError`.
  func follow(
    _ run: Run, until deadline: ContinuousClock.Instant? = nil,
    _ send: (Run) async throws -> Void
  ) async throws {
    if let entry = state.withLock({ $0.entries[run.id] }) {
      var seen = entry.run.current
      try await send(seen.value)
      while seen.value.state == .running, let next = try await entry.run.next(after: seen.version) {
        seen = next
        try await send(seen.value)
      }
      return
    }
    var last: Run?
    while true {
      let version = news.current.version
      guard let now = try await find(run.id, of: run.warmSet) else {
        throw RPCError(.notFound, "Warm set '\(run.warmSet)' was deleted, and its runs with it.")
      }
      if now != last { try await send(now) }
      last = now
      guard now.state == .running, deadline.map({ .now < $0 }) ?? true else { return }
      try await waitForNews(after: version)
      await sweep()
    }
  }

  private func waitForNews(after version: Int) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [news] in _ = try await news.next(after: version) }
      group.addTask { [interval] in try await Task.sleep(for: interval) }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// How long it is waited for another server to say that it has ended a run.
  private static let cancelWait: Duration = .seconds(5)

  /// Calls a run off, whichever server's, and waits until it has ended, if its server lives.
  ///
  /// - Returns: what it has come to.
  /// - Throws: what ``follow(_:_:)`` throws.
  func cancel(_ run: Run, origin: ChangeOrigin) async throws -> Run {
    do {
      try await database.change(origin) { change in
        let now = try await WarmRunRepository.run(run.id, of: run.warmSet, in: change)
        guard let now, now.run.state == .running, !now.isCancelled else { throw Settled() }
        try await WarmRunRepository.callOff(now.run, change)
        change.recordCancellation(of: now.run)
      }
    } catch is Settled {
      // It has ended, or somebody else has called it off.
    }
    var last = run
    try await follow(run, until: .now + Self.cancelWait) { last = $0 }
    return last
  }

  /// Says of the runs whose servers were not heard of in time that they are lost. What cannot be said
  /// now is said by the next who looks.
  func sweep() async {
    do {
      let dialect = database.dialect
      let (now, expired) = try await database.read { transaction in
        let now = try await ChangeHead.current(in: transaction, dialect).time
        return (now, try await WarmRunRepository.expired(at: now, in: transaction))
      }
      guard expired.contains(where: { !isHere($0) }) else { return }
      try await database.change(.system()) { [self] change in
        // As of the time of the look: that of a change does not go back with the clock.
        let lost = try await WarmRunRepository.expired(at: now, in: change)
          .filter { !isHere($0) }
        guard !lost.isEmpty else { throw Settled() }
        for var run in lost {
          run.state = .lost
          run.endTime = .init(change.time)
          try await WarmRunRepository.end(run, change)
          change.recordEnd(of: run)
        }
      }
    } catch is Settled {
      // Another server was quicker.
    } catch {
      logger.log(
        .debug, "Runs of warm sets could not be looked after.", ["cause": "\(error)"])
    }
  }

  private func isHere(_ run: Run) -> Bool { state.withLock { $0.entries[run.id] != nil } }

  /// Hears of what was called off and has ended, on any server.
  private func take(_ events: [CommittedEvent]) {
    var isNews = false
    for event in events where event.type.hasPrefix("keelson.cache.") {
      switch CacheEvent(rawValue: event.type) {
      case .warmingCancelled:
        let id = String(decoding: event.payload, as: UTF8.self)
        callOff { $0.id == id }
      case .warmSetDeleted: callOff { $0.warmSet == event.subject }
      case .warmed: break
      default: continue
      }
      isNews = true
    }
    if isNews { news.update { $0 += 1 } }
  }

  /// Ends runs of this server.
  func callOff(where isMeant: (Run) -> Bool) {
    let entries = state.withLock { Array($0.entries.values) }
    for entry in entries where isMeant(entry.run.value) { entry.task.cancel() }
  }

  var isStopped: Bool { state.withLock { $0.isStopped } }

  /// Ends all runs of this server and lets no more begin.
  func stop() {
    state.withLock { $0.isStopped = true }
    callOff { _ in true }
  }

  /// Waits until the runs of this server have ended.
  func end() async {
    let tasks = state.withLock { $0.entries.values.map(\.task) }
    for task in tasks { await task.value }
  }
}
