package import KeelsonCacheRules
import KeelsonCore

// As the service's engine. Nothing here waits but who waits for a lease.

extension MemoryCacheEngine {
  package func get(_ keys: [String]) async -> [CacheEntry?] { getNow(keys) }

  package func set(_ writes: [CacheWrite]) async -> [CacheWriteOutcome] { setNow(writes) }

  package func fill(_ write: CacheWrite, under lease: CacheLease) async -> CacheWriteOutcome {
    fillNow(write, under: lease)
  }

  package func lease(_ key: String, _ request: CacheLeaseRequest) async -> CacheLeaseOutcome {
    leaseNow(key, request)
  }

  package func release(_ lease: CacheLease, of key: String) async -> Bool {
    releaseNow(lease, of: key)
  }

  package func touch(_ keys: [String], _ lifetime: CacheLifetime) async -> [Bool] {
    touchNow(keys, lifetime)
  }

  package func delete(_ keys: [String]) async -> (found: [Bool], position: CachePosition) {
    deleteNow(keys)
  }

  package func invalidate(
    _ scope: Invalidation.Scope
  ) async throws(CacheEngineError) -> CachePosition {
    try invalidateNow(scope)
  }

  package func measure() async -> CacheMeasure { measureNow() }
}
