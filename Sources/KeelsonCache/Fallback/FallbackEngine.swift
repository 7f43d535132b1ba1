package import KeelsonCacheRules
package import KeelsonCore
import Synchronization

/// A shared engine, and this process's memory in its place while it is away. Source: SYS-115.
///
/// While the circuit breaker is closed calls go to the shared engine; one that fails there is done in
/// memory. While it is open all are done in memory, where entries and leases live no longer than
/// ``CacheLimits/fallbackTTL``: what other servers invalidate meanwhile is not heard of here. What is
/// written in memory is noted, and becomes void in the shared engine before that is read again.
///
/// Invalidations are never done in memory alone: they fail, and are noted too.
///
/// Lock order: an engine's own, `state`, then the feed's, which calls nothing.
package final class FallbackEngine: CacheEngine {
  private struct State {
    var breaker: CircuitBreaker
    var outage: OutageLog
    /// What was noted before and is being made void there now.
    var inHand: OutageLog?
    /// What the shared engine did last that was no success.
    var cause = ""
    var since: ContinuousClock.Instant?
    /// Whether the observer hears of the memory's position: while that serves, and until the shared
    /// engine has said where it stands.
    var isLocal = true
    /// Where each engine stands.
    var sharedPosition: CachePosition?
    var localPosition: CachePosition?
    var observer: (@Sendable (CacheFeedEvent) -> Void)?
  }

  /// What a probe reads and deletes: it is not of the form that callers' keys have.
  private static let probeKey = "probe"

  let shared: any CacheEngine
  let local: MemoryCacheEngine
  private let limits: CacheLimits
  private let logger: Logger
  private let state: Mutex<State>
  /// Whether something is noted: most gets need not take the lock.
  private let hasNotes = Atomic(false)
  private let isOpen = Atomic(false)
  private let hasFailures = Atomic(false)
  private let changes = Wakeup()
  private let hasNews = Wakeup()
  private let news = Mutex<[FallbackChange]>([])

  package init(over shared: any CacheEngine, limits: CacheLimits, logger: Logger) {
    self.shared = shared
    self.limits = limits
    self.logger = logger
    local = MemoryCacheEngine(
      byteLimit: limits.memoryBytes, valueBytes: limits.valueBytes,
      maximumAge: limits.fallbackTTL, limits: limits.view)
    state = Mutex(
      State(
        breaker: CircuitBreaker(settings: limits.breaker),
        outage: OutageLog(limit: limits.outageLog)
      ))
  }

  /// Whether calls are done in memory.
  package var isActive: Bool { isOpen.load(ordering: .acquiring) }

  /// For the health check.
  var health: CacheHealthCheck.Fallback {
    state.withLock { state in
      switch state.breaker.state {
      case .closed: .init(breaker: "closed", isActive: false)
      case .open: .init(breaker: "open", isActive: true)
      case .halfOpen: .init(breaker: "half-open", isActive: true)
      }
    }
  }

  // MARK: What callers ask

  package func get(_ keys: [String]) async throws(CacheEngineError) -> [CacheEntry?] {
    guard isTrusted(keys) else { return local.getNow(keys) }
    do {
      let found = try await shared.get(keys)
      succeeded()
      // Written in memory meanwhile: what was found may be older than that.
      guard isTrusted(keys) else { return local.getNow(keys) }
      return found
    } catch {
      failed(error)
      return local.getNow(keys)
    }
  }

  package func set(_ writes: [CacheWrite]) async throws(CacheEngineError) -> [CacheWriteOutcome] {
    let keys = writes.map(\.key)
    if isTrusted(keys) {
      do {
        let outcomes = try await shared.set(writes)
        succeeded()
        return outcomes
      } catch {
        failed(error)
      }
    }
    return inMemory(keys) { local.setNow(writes).map(Self.isLocal) }
  }

  package func fill(_ write: CacheWrite, under lease: CacheLease) async throws(CacheEngineError)
    -> CacheWriteOutcome
  {
    if lease.position.epoch == local.position.epoch {
      return inMemory([write.key]) { Self.isLocal(local.fillNow(write, under: lease)) }
    }
    guard isTrusted([write.key]) else {
      // The lease stands there still; what is noted ends it.
      note(.keys([write.key]))
      return .leaseLost
    }
    do {
      let outcome = try await shared.fill(write, under: lease)
      succeeded()
      return outcome
    } catch {
      // If it has happened it was right: the lease stood. If not, nobody else will end the lease.
      failed(error)
      note(.keys([write.key]))
      return .leaseLost
    }
  }

  package func lease(_ key: String, _ request: CacheLeaseRequest) async throws(CacheEngineError)
    -> CacheLeaseOutcome
  {
    guard isTrusted([key]) else { return local.leaseNow(key, request) }
    do {
      let outcome = try await shared.lease(key, request)
      succeeded()
      guard isTrusted([key]) else {
        // What is noted ends the lease, too.
        if outcome.lease != nil { note(.keys([key])) }
        return local.leaseNow(key, request)
      }
      return outcome
    } catch {
      failed(error)
      // It may have been given.
      note(.keys([key]))
      return local.leaseNow(key, request)
    }
  }

  package func release(_ lease: CacheLease, of key: String) async throws(CacheEngineError) -> Bool {
    if lease.position.epoch == local.position.epoch { return local.releaseNow(lease, of: key) }
    if !isActive {
      do {
        let stood = try await shared.release(lease, of: key)
        succeeded()
        return stood
      } catch {
        failed(error)
      }
    }
    note(.keys([key]))
    return false
  }

  package func touch(_ keys: [String], _ lifetime: CacheLifetime) async throws(CacheEngineError)
    -> [Bool]
  {
    guard isTrusted(keys) else { return local.touchNow(keys, lifetime) }
    do {
      let found = try await shared.touch(keys, lifetime)
      succeeded()
      return found
    } catch {
      failed(error)
      return local.touchNow(keys, lifetime)
    }
  }

  package func delete(_ keys: [String]) async throws(CacheEngineError) -> (
    found: [Bool], position: CachePosition
  ) {
    guard !isActive else {
      _ = local.deleteNow(keys)
      throw refused(.keys(keys))
    }
    do {
      let done = try await shared.delete(keys)
      succeeded()
      // What is noted is read from memory still.
      if hasNotes.load(ordering: .acquiring) { invalidateHere(.keys(keys)) }
      return done
    } catch {
      failed(error)
      _ = local.deleteNow(keys)
      note(.keys(keys))
      throw error
    }
  }

  package func invalidate(_ scope: Invalidation.Scope) async throws(CacheEngineError)
    -> CachePosition
  {
    guard !isActive else {
      invalidateHere(scope)
      throw refused(scope)
    }
    do {
      let position = try await shared.invalidate(scope)
      succeeded()
      if hasNotes.load(ordering: .acquiring) { invalidateHere(scope) }
      return position
    } catch {
      guard error.code != .full else { throw error }
      failed(error)
      invalidateHere(scope)
      note(scope)
      throw error
    }
  }

  /// Writes keys in memory. They are noted before, so that the shared engine is not trusted with them,
  /// and after, since what was noted before may have been put in order meanwhile.
  private func inMemory<Outcome>(_ keys: [String], _ write: () -> Outcome) -> Outcome {
    note(.keys(keys))
    defer { note(.keys(keys)) }
    return write()
  }

  private func invalidateHere(_ scope: Invalidation.Scope) {
    // It has little, and that for a short time: all of it may go.
    if (try? local.invalidateNow(scope)) == nil { local.clear() }
  }

  package func wait(
    for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant
  ) async {
    if isTrusted([key]) {
      await shared.wait(for: key, after: ticket, until: deadline)
    } else {
      // A ticket of the shared engine's means nothing there: it returns at once, and is asked anew.
      await local.wait(for: key, after: ticket, until: deadline)
    }
  }

  package func measure() async throws(CacheEngineError) -> CacheMeasure {
    if !isActive {
      do {
        let measure = try await shared.measure()
        succeeded()
        return measure
      } catch {
        failed(error)
      }
    }
    var measure = local.measureNow()
    measure.kind = .fallback
    return measure
  }

  package func age(at now: ContinuousClock.Instant) -> Duration? {
    // While something noted here is not void there yet, copies are not used either.
    guard !isActive, !hasNotes.load(ordering: .acquiring) else { return nil }
    // Its watchers may not have heard where it stands.
    guard state.withLock({ !$0.isLocal }) else { return nil }
    return shared.age(at: now)
  }

  // MARK: What becomes void

  package func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {
    state.withLock { $0.observer = observer }
    local.follow { [weak self] in self?.take($0, isLocal: true) }
    shared.follow { [weak self] in self?.take($0, isLocal: false) }
  }

  private func take(_ event: CacheFeedEvent, isLocal: Bool) {
    state.withLock { state in
      switch event {
      case .start(let position):
        if isLocal { state.localPosition = position } else { state.sharedPosition = position }
      case .invalidation(let invalidation):
        if isLocal {
          state.localPosition?.sequence = invalidation.sequence
        } else {
          state.sharedPosition?.sequence = invalidation.sequence
        }
      }
      if !isLocal, !isActive, case .start = event { state.isLocal = false }
      if state.isLocal == isLocal { state.observer?(event) }
    }
  }

  // MARK: How the shared engine does

  /// Whether the shared engine is to be asked about these keys.
  private func isTrusted(_ keys: [String]) -> Bool {
    guard !isActive else { return false }
    guard hasNotes.load(ordering: .acquiring) else { return true }
    return state.withLock { state in
      !keys.contains { state.outage.concerns($0) || state.inHand?.concerns($0) == true }
    }
  }

  private func succeeded() {
    guard hasFailures.load(ordering: .relaxed) else { return }
    state.withLock { state in
      state.breaker.succeed()
      hasFailures.store(state.breaker.hasFailures, ordering: .relaxed)
    }
  }

  private func failed(_ error: CacheEngineError) {
    let opens = state.withLock { state in
      state.cause = error.message
      let opens = state.breaker.fail(at: .now)
      hasFailures.store(true, ordering: .relaxed)
      if opens { open(&state) }
      return opens
    }
    if opens { activated(because: error.message) }
  }

  private func open(_ state: inout State) {
    isOpen.store(true, ordering: .releasing)
    state.since = .now
  }

  /// Watchers hear that all they have is void, and what memory held from an earlier time goes.
  private func activated(because cause: String) {
    local.clear()
    state.withLock { state in
      guard isActive, !state.isLocal, let position = state.localPosition else { return }
      state.isLocal = true
      state.observer?(.start(position))
    }
    logger.log(
      .warning,
      "The cache's shared engine is away: the server's own memory takes its place.",
      ["cause": cause])
    tell(.activated)
    // Somebody has to try the shared engine again, also when nothing is noted.
    changes.set()
  }

  private func note(_ scope: Invalidation.Scope) {
    state.withLock { state in
      state.outage.note(scope)
      hasNotes.store(true, ordering: .releasing)
    }
    changes.set()
  }

  private func refused(_ scope: Invalidation.Scope) -> CacheEngineError {
    note(scope)
    return CacheEngineError(
      .unavailable,
      "The shared engine is away: this server alone has made void what was named, the others when "
        + "it is back.")
  }

  private func tell(_ change: FallbackChange) {
    news.withLock { $0.append(change) }
    hasNews.set()
  }

  private static func isLocal(_ outcome: CacheWriteOutcome) -> CacheWriteOutcome {
    if case .stored(let position, _) = outcome { return .stored(position, isLocal: true) }
    return outcome
  }

  // MARK: The way back

  /// Sweeps the memory, tries the shared engine while it is away, and puts in order what was noted,
  /// until the task is cancelled.
  ///
  /// - Parameter record: is told what changes, in order.
  func run(record: @escaping @Sendable (FallbackChange) async -> Void) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.local.run() }
      group.addTask { await self.keepInOrder() }
      group.addTask {
        while await self.hasNews.wait() {
          for change in self.news.withLock({ $0.takeAll() }) { await record(change) }
        }
      }
    }
  }

  private func keepInOrder() async {
    while !Task.isCancelled {
      let (isClosed, timeToProbe) = state.withLock {
        ($0.breaker.isClosed, $0.breaker.timeToProbe(at: .now))
      }
      if isClosed, !hasNotes.load(ordering: .acquiring) {
        _ = await changes.wait()
      } else if let timeToProbe, timeToProbe > .zero {
        try? await Task.sleep(for: min(timeToProbe, .seconds(1)))
      } else {
        await putInOrder()
      }
    }
    // The last chance for what is noted: nobody else knows of it.
    guard hasNotes.load(ordering: .acquiring) else { return }
    await Task { try? await self.carryOutNotes() }.value
  }

  /// Makes void in the shared engine what was noted; probes it first when it was away.
  private func putInOrder() async {
    do {
      if isActive {
        // Reading and writing both have to work.
        _ = try await shared.get([Self.probeKey])
        _ = try await shared.delete([Self.probeKey])
        let isEnough = state.withLock { $0.breaker.probe(succeeded: true, at: .now) }
        guard isEnough else { return }
      }
      // A write whose connection was lost may be on its way still.
      try? await Task.sleep(for: limits.outageSettling)
      try await carryOutNotes()
    } catch {
      let opens = state.withLock { state in
        state.cause = error.message
        if let inHand = state.inHand.take() { state.outage.add(inHand) }
        guard state.breaker.isClosed else {
          _ = state.breaker.probe(succeeded: false, at: .now)
          return false
        }
        let opens = state.breaker.fail(at: .now)
        hasFailures.store(true, ordering: .relaxed)
        if opens { open(&state) }
        return opens
      }
      if opens { activated(because: error.message) }
      // What is noted is tried again soon, not at once.
      if !isActive { try? await Task.sleep(for: .milliseconds(20)) }
    }
  }

  private func carryOutNotes() async throws(CacheEngineError) {
    let notes = takeNotes()
    for scope in notes.scopes(batch: limits.batch) {
      do {
        _ = try await shared.invalidate(scope)
      } catch {
        // More patterns than it takes: then everything.
        guard error.code == .full else { throw error }
        _ = try await shared.invalidate(.all)
        break
      }
    }
    finish(notes.count)
  }

  /// What is noted from now on is for the next round.
  private func takeNotes() -> OutageLog {
    state.withLock { state in
      let notes = state.outage
      state.inHand = notes
      state.outage = OutageLog(limit: limits.outageLog)
      return notes
    }
  }

  /// What was in hand is void now: the shared engine is used again, but for keys that were noted
  /// meanwhile.
  private func finish(_ invalidations: Int) {
    // Nothing of it may be given when a later call fails.
    local.clear()
    let ended = state.withLock { state -> Duration? in
      state.inHand = nil
      // Watchers hear it before the shared engine is used: how old its knowledge is may still be of
      // before.
      if let position = state.sharedPosition {
        state.isLocal = false
        state.observer?(.start(position))
      }
      hasNotes.store(!state.outage.isEmpty, ordering: .releasing)
      guard isActive else { return nil }
      state.breaker.close()
      hasFailures.store(false, ordering: .relaxed)
      isOpen.store(false, ordering: .releasing)
      defer { state.since = nil }
      return state.since?.duration(to: .now)
    }
    guard let ended else { return }
    logger.log(.info, "The cache's shared engine is used again.", ["away": "\(ended)"])
    tell(.ended(ended, invalidations: invalidations))
  }
}

extension Array {
  fileprivate mutating func takeAll() -> [Element] {
    defer { removeAll() }
    return self
  }
}
