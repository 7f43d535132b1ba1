import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// An engine that keeps what it is given and otherwise does what a test has it do.
final class ScriptedEngine: CacheEngine {
  struct State: Sendable {
    var entries: [String: CacheWrite] = [:]
    var leases: [String: UInt64] = [:]
    var released: [String] = []
    var nextToken: UInt64 = 1
    /// What fills end with, one after the other; then they store.
    var fills: [CacheWriteOutcome] = []
    var sets: [CacheWriteOutcome] = []
    var kinds: [CacheMeasure.Kind] = []
  }

  let state = Mutex(State())
  private let position = CachePosition(epoch: 1, sequence: 1)

  var entries: [String: CacheWrite] { state.withLock { $0.entries } }

  func get(_ keys: [String]) async throws(CacheEngineError) -> [CacheEntry?] {
    state.withLock { state in keys.map { state.entries[$0].map(entry) } }
  }

  func set(_ writes: [CacheWrite]) async throws(CacheEngineError) -> [CacheWriteOutcome] {
    state.withLock { state in
      writes.map { write in
        if !state.sets.isEmpty { return state.sets.removeFirst() }
        state.entries[write.key] = write
        return .stored(position)
      }
    }
  }

  func fill(_ write: CacheWrite, under lease: CacheLease) async throws(CacheEngineError)
    -> CacheWriteOutcome
  {
    state.withLock { state in
      guard state.leases.removeValue(forKey: write.key) == lease.token else { return .leaseLost }
      if !state.fills.isEmpty { return state.fills.removeFirst() }
      state.entries[write.key] = write
      return .stored(position)
    }
  }

  func lease(_ key: String, _ request: CacheLeaseRequest) async throws(CacheEngineError)
    -> CacheLeaseOutcome
  {
    state.withLock { state in
      let known = state.entries[key].map(entry)
      guard state.leases[key] == nil, known == nil || request.refreshAfter < 1 else {
        return CacheLeaseOutcome(entry: known, isFresh: known != nil)
      }
      state.leases[key] = state.nextToken
      defer { state.nextToken += 1 }
      return CacheLeaseOutcome(
        entry: known, isFresh: known != nil,
        lease: CacheLease(
          token: state.nextToken, position: position, duration: request.duration))
    }
  }

  func release(_ lease: CacheLease, of key: String) async throws(CacheEngineError) -> Bool {
    state.withLock { state in
      state.released.append(key)
      return state.leases.removeValue(forKey: key) == lease.token
    }
  }

  func measure() async throws(CacheEngineError) -> CacheMeasure {
    let kind = state.withLock { $0.kinds.isEmpty ? .memory : $0.kinds.removeFirst() }
    return CacheMeasure(
      kind: kind, entries: 0, memoryBytes: 0, memoryLimitBytes: nil, evictions: 0, expirations: 0)
  }

  func touch(_ keys: [String], _ lifetime: CacheLifetime) async throws(CacheEngineError) -> [Bool] {
    throw CacheEngineError(.failed, "No warm set touches entries.")
  }

  func delete(_ keys: [String]) async throws(CacheEngineError) -> (
    found: [Bool], position: CachePosition
  ) {
    throw CacheEngineError(.failed, "No warm set deletes entries.")
  }

  func invalidate(_ scope: Invalidation.Scope) async throws(CacheEngineError) -> CachePosition {
    throw CacheEngineError(.failed, "No warm set invalidates entries.")
  }

  func wait(for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant) async {}
  func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {}
  func age(at now: ContinuousClock.Instant) -> Duration? { .zero }

  private func entry(_ write: CacheWrite) -> CacheEntry {
    CacheEntry(
      value: write.value, tags: write.tags, position: position,
      freshUntil: .now + write.lifetime.ttl, ttl: write.lifetime.ttl)
  }
}
