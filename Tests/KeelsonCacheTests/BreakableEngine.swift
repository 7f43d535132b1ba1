import KeelsonCache
import KeelsonCacheRules
import Synchronization

/// A shared engine in memory that fails as it is told to.
final class BreakableEngine: CacheEngine {
  enum Mood: Sendable {
    case well
    /// Fails without having done anything.
    case refusing
    /// Does it, and fails all the same: the answer was lost.
    case losingAnswers
    /// Reads well and cannot write.
    case readOnly
  }

  let memory: MemoryCacheEngine
  private let state = Mutex((mood: Mood.well, calls: 0))

  init(_ memory: MemoryCacheEngine) {
    self.memory = memory
  }

  var mood: Mood {
    get { state.withLock { $0.mood } }
    set { state.withLock { $0.mood = newValue } }
  }

  /// How often it was asked.
  var calls: Int { state.withLock { $0.calls } }

  private static let failure = CacheEngineError(.unavailable, "It is broken.")

  private func attempt<Result>(
    isWrite: Bool, _ body: () async throws(CacheEngineError) -> Result
  ) async throws(CacheEngineError) -> Result {
    let mood = state.withLock { state in
      state.calls += 1
      return state.mood
    }
    switch mood {
    case .well: return try await body()
    case .refusing: throw Self.failure
    case .readOnly:
      guard !isWrite else { throw Self.failure }
      return try await body()
    case .losingAnswers:
      _ = try await body()
      throw Self.failure
    }
  }

  func get(_ keys: [String]) async throws(CacheEngineError) -> [CacheEntry?] {
    try await attempt(isWrite: false) { await memory.get(keys) }
  }

  func set(_ writes: [CacheWrite]) async throws(CacheEngineError) -> [CacheWriteOutcome] {
    try await attempt(isWrite: true) { await memory.set(writes) }
  }

  func fill(_ write: CacheWrite, under lease: CacheLease) async throws(CacheEngineError)
    -> CacheWriteOutcome
  {
    try await attempt(isWrite: true) { await memory.fill(write, under: lease) }
  }

  func lease(_ key: String, _ request: CacheLeaseRequest) async throws(CacheEngineError)
    -> CacheLeaseOutcome
  {
    try await attempt(isWrite: true) { await memory.lease(key, request) }
  }

  func release(_ lease: CacheLease, of key: String) async throws(CacheEngineError) -> Bool {
    try await attempt(isWrite: true) { await memory.release(lease, of: key) }
  }

  func touch(_ keys: [String], _ lifetime: CacheLifetime) async throws(CacheEngineError) -> [Bool] {
    try await attempt(isWrite: true) { await memory.touch(keys, lifetime) }
  }

  func delete(_ keys: [String]) async throws(CacheEngineError) -> (
    found: [Bool], position: CachePosition
  ) {
    try await attempt(isWrite: true) { await memory.delete(keys) }
  }

  func invalidate(_ scope: Invalidation.Scope) async throws(CacheEngineError) -> CachePosition {
    try await attempt(isWrite: true) { () async throws(CacheEngineError) in
      try await memory.invalidate(scope)
    }
  }

  func wait(for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant) async {
    await memory.wait(for: key, after: ticket, until: deadline)
  }

  func measure() async throws(CacheEngineError) -> CacheMeasure {
    try await attempt(isWrite: false) { await memory.measure() }
  }

  func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {
    memory.follow(observer)
  }

  func age(at now: ContinuousClock.Instant) -> Duration? {
    mood == .refusing ? nil : memory.age(at: now)
  }
}
