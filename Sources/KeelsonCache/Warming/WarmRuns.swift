import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore
import Synchronization

/// The loadings of warm sets on this server: those that run, and of each set the newest.
final class WarmRuns: Sendable {
  typealias WarmSet = KeelsonCacheV1.WarmSet
  typealias Run = KeelsonCacheV1.WarmSetRun

  private struct Entry {
    let run: Watchable<Run>
    /// nil until the run has begun, which happens under the lock.
    var task: Task<Void, Never>?
  }

  private struct State {
    /// By the name of the set.
    var entries: [String: Entry] = [:]
    /// Runs that have not ended of sets that were deleted, by their ids.
    var orphans: [String: Task<Void, Never>] = [:]
    var isStopped = false
  }

  private let database: any Database
  private let loader: WarmLoader
  private let limits: CacheLimits
  private let logger: Logger
  private let state = Mutex(State())

  /// Errors that a run tells of.
  private static let errorsTold = 10

  init(database: any Database, loader: WarmLoader, limits: CacheLimits, logger: Logger) {
    self.database = database
    self.loader = loader
    self.limits = limits
    self.logger = logger
  }

  /// Begins to load a set, unless it is being loaded.
  ///
  /// - Parameter isOnStart: by the server itself: what is fresh already is left, and the number of
  ///   runs is not limited.
  /// - Returns: the run.
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED when too many run, UNAVAILABLE when the server stops.
  func start(
    _ set: WarmSet, origin: ChangeOrigin, isOnStart: Bool = false
  ) throws(RPCError) -> Watchable<Run> {
    try state.withLock { state throws(RPCError) in
      guard !state.isStopped else {
        throw RPCError(
          .unavailable, "This server is stopping; start it on another.",
          details: [.retryInfo(.seconds(1))])
      }
      if let known = state.entries[set.name], known.run.value.state == .running { return known.run }
      let running = state.entries.values.count { $0.run.value.state == .running }
      guard isOnStart || running < limits.warmRuns else {
        throw RPCError(
          .resourceExhausted,
          "\(running) warm sets are being loaded, the limit 'cache-warm-runs'. Try again.",
          details: [.retryInfo(.seconds(1))])
      }
      var run = Run()
      run.warmSet = set.name
      run.id = UUIDv7.make()
      run.state = .running
      run.total = Int32(clamping: set.entries.count)
      run.startTime = .init(UnixTime.now)
      let watchable = Watchable(run)
      let task = Task { await carryOut(set, watchable, origin, keepsFresh: isOnStart) }
      state.entries[set.name] = Entry(run: watchable, task: task)
      return watchable
    }
  }

  /// The newest run of a set; nil when there was none.
  func newest(of set: String) -> Watchable<Run>? {
    state.withLock { $0.entries[set]?.run }
  }

  /// Ends a set's run, if it runs, and waits until it has ended and who ended it is recorded.
  ///
  /// - Returns: the newest run; nil when there was none.
  func cancel(_ set: String, origin: ChangeOrigin) async -> Run? {
    guard let entry = state.withLock({ $0.entries[set] }) else { return nil }
    guard entry.run.value.state == .running else { return entry.run.value }
    entry.task?.cancel()
    // A caller who is gone has ended it all the same.
    let recording = Task { await self.recordCancellation(of: entry.run.value, origin) }
    await entry.task?.value
    await recording.value
    return entry.run.value
  }

  /// Forgets a set that was deleted, and ends its run.
  func forget(_ set: String) {
    let task = state.withLock { state -> Task<Void, Never>? in
      guard let entry = state.entries.removeValue(forKey: set), let task = entry.task else {
        return nil
      }
      let run = entry.run.value
      if run.state == .running { state.orphans[run.id] = task }
      return task
    }
    task?.cancel()
  }

  /// Ends all runs and lets no more begin.
  func stop() {
    let tasks = state.withLock { state in
      state.isStopped = true
      return state.entries.values.compactMap(\.task)
    }
    for task in tasks { task.cancel() }
  }

  /// Waits until the runs have ended that were begun.
  func end() async {
    let tasks = state.withLock { $0.entries.values.compactMap(\.task) + $0.orphans.values }
    for task in tasks { await task.value }
  }

  // MARK: A run

  private func carryOut(
    _ set: WarmSet, _ run: Watchable<Run>, _ origin: ChangeOrigin, keepsFresh: Bool
  ) async {
    let start = ContinuousClock.now
    await withTaskGroup(of: String?.self) { group in
      var rest = set.entries.makeIterator()
      func addNext() {
        guard !Task.isCancelled, let entry = rest.next() else { return }
        group.addTask { [loader] in
          do {
            try await loader.load(entry, keepsFresh: keepsFresh, origin: origin)
            return nil
          } catch {
            return "\(entry.key): \(error)."
          }
        }
      }
      for _ in 0..<max(1, set.concurrency) { addNext() }
      for await problem in group {
        // What fails since the run was cancelled has not failed.
        if problem == nil || !Task.isCancelled {
          run.update { $0.note(problem, upTo: Self.errorsTold) }
        }
        addNext()
      }
    }
    var ended = run.value
    ended.endTime = .init(UnixTime.now)
    ended.state =
      ended.loaded + ended.failed < ended.total
      ? .cancelled : ended.failed > 0 ? .failed : .completed
    // Cancelled or not: what it has done is kept, and then told.
    let record = Task { [ended] in await self.record(ended, origin, after: .now - start) }
    await record.value
    run.update { $0 = ended }
    run.close()
    state.withLock { $0.orphans[ended.id] = nil }
  }

  private func recordCancellation(of run: Run, _ origin: ChangeOrigin) async {
    let time = UnixTime.now
    // The event is that of the run's end.
    let entry = AuditEntry(
      id: UUIDv7.make(at: time), time: time, actor: origin.actor, action: "warm_set.cancelled",
      entityType: "warm_set", entityID: run.warmSet,
      attributes: JSONText(["run": .string(run.id)]).text, category: "change", outcome: .success,
      correlationID: origin.correlationID, peer: origin.peer, userAgent: origin.userAgent)
    do {
      _ = try await database.appendAudit([entry])
    } catch {
      logger.log(
        .warning, "Who cancelled the loading of a warm set could not be recorded.",
        ["warm_set": run.warmSet, "actor": origin.actor, "cause": "\(error)"])
    }
  }

  private func record(_ run: Run, _ origin: ChangeOrigin, after duration: Duration) async {
    let fields: KeyValuePairs = [
      "warm_set": run.warmSet, "state": run.stateName, "loaded": "\(run.loaded)",
      "failed": "\(run.failed)", "seconds": "\(duration / .seconds(1))",
      "error": run.errors.first ?? "",
    ]
    logger.log(
      run.state == .failed ? .warning : .info, "The loading of a warm set has ended.", fields)
    do {
      try await database.change(origin) { $0.record(run, after: duration) }
    } catch {
      logger.log(
        .warning, "That a warm set was loaded could not be recorded.",
        ["warm_set": run.warmSet, "cause": "\(error)"])
    }
  }
}

extension KeelsonCacheV1.WarmSetRun {
  /// Counts an entry.
  ///
  /// - Parameter problem: why it was not loaded; nil: it was.
  fileprivate mutating func note(_ problem: String?, upTo limit: Int) {
    guard let problem else {
      loaded += 1
      return
    }
    failed += 1
    if errors.count < limit { errors.append(problem) }
  }

  var stateName: String {
    switch state {
    case .running: "running"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    case .stateUnspecified, .unrecognized: "unknown"
    }
  }
}

extension Change {
  /// Writes the audit entry and the event of a run that has ended.
  fileprivate func record(_ run: KeelsonCacheV1.WarmSetRun, after duration: Duration) {
    let data: JSONValue = [
      "warm_set": .string(run.warmSet), "run": .string(run.id), "state": .string(run.stateName),
      "total": .number(Double(run.total)), "loaded": .number(Double(run.loaded)),
      "failed": .number(Double(run.failed)), "duration_seconds": .number(duration / .seconds(1)),
      "errors": .array(run.errors.map { .string($0) }),
    ]
    audit(
      AuditDraft(
        action: "warm_set.loaded", entityType: "warm_set", entityID: run.warmSet,
        attributes: JSONText(data), outcome: run.state == .failed ? .failure : .success))
    emit(EventDraft(type: CacheEvent.warmed.rawValue, subject: run.warmSet, data: JSONText(data)))
  }
}
