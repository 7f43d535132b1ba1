import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore

/// Loads one entry of a warm set into the cache.
///
/// What a URL gives is loaded under a lease, like anything that is loaded: what is invalidated
/// meanwhile is not stored, and loaded anew. So are inline values where what is there is to be left.
/// Who asks for them on demand means them: they are set.
struct WarmLoader: Sendable {
  let engine: any CacheEngine
  let source: any WarmSource
  let origins: Set<WarmOrigin>
  let validation: CacheValidation
  let counters: CacheCounters
  let announcer: CacheAnnouncer

  /// Why an entry was not loaded, as the end of a sentence.
  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  /// A lease that was lost is taken anew so many times at most.
  private static let attempts = 3
  /// How much longer than a request a lease lasts, to store what came.
  private static let storingTime: Duration = .seconds(2)
  /// A lease beside any entry that is fresh: the engine gives one from this part of its time on.
  private static let atOnce = Double.leastNonzeroMagnitude

  /// - Parameter keepsFresh: leave an entry that is there and fresh.
  func load(
    _ entry: KeelsonCacheV1.WarmEntry, keepsFresh: Bool, origin: ChangeOrigin
  ) async throws(Failure) {
    do {
      switch entry.source {
      case .value(let value) where keepsFresh:
        try await underLease(entry, keepsFresh: true, origin) { value }
      case .value(let value):
        let write = try write(entry, value)
        for outcome in try await engine.set([write]) { try settle(outcome, write, origin) }
      case .url(let url):
        guard let from = try? WarmOrigin(ofURL: url), origins.contains(from) else {
          throw Failure("its URL's origin is not allowed any more (CacheWarmOrigins)")
        }
        try await underLease(entry, keepsFresh: keepsFresh, origin) {
          () async throws(WarmSourceFailure) in try await source.fetch(url)
        }
      case nil:
        throw Failure("it has neither a value nor a URL")
      }
    } catch let failure as Failure {
      throw failure
    } catch let error as CacheEngineError {
      throw Failure(
        error.code == .full ? "the cache has no room for it" : "the cache's engine does not answer")
    } catch {
      throw Failure("\(error)")
    }
  }

  private func underLease(
    _ entry: KeelsonCacheV1.WarmEntry, keepsFresh: Bool, _ origin: ChangeOrigin,
    _ value: () async throws(WarmSourceFailure) -> [UInt8]
  ) async throws {
    let limits = validation.limits
    var request = CacheLeaseRequest(
      duration: min(limits.lease, limits.warmTimeout + Self.storingTime),
      refreshAfter: keepsFresh ? 1 : Self.atOnce)
    for _ in 0..<Self.attempts {
      let found = try await engine.lease(entry.key, request)
      guard let lease = found.lease else {
        // Without a lease it is fresh, or somebody else loads it just now, or has died meanwhile.
        guard !found.isFresh, let ends = found.leaseEnds else { return }
        await engine.wait(for: entry.key, after: found.ticket, until: ends)
        try Task.checkCancellation()
        request.refreshAfter = 1
        continue
      }
      counters.add(to: .leases)
      let loaded: [UInt8]
      do {
        loaded = try await value()
      } catch {
        // Whoever waits for the lease gets it now, not when it ends; also when the run was cancelled.
        let giving = Task { [engine] in _ = try? await engine.release(lease, of: entry.key) }
        await giving.value
        throw Failure(error.description)
      }
      let write = try write(entry, loaded)
      let outcome = try await engine.fill(write, under: lease)
      if outcome == .leaseLost {
        counters.add(to: .setsRefused)
        continue
      }
      try settle(outcome, write, origin)
      // By a tag or a pattern it was made void with its lease standing.
      if let stored = try await engine.get([entry.key]).first, stored != nil { return }
    }
    throw Failure("it was made void each time while it was being loaded")
  }

  private func write(
    _ entry: KeelsonCacheV1.WarmEntry, _ value: [UInt8]
  ) throws -> CacheWrite {
    CacheWrite(
      key: entry.key, value: value, tags: entry.tags,
      lifetime: try validation.lifetime(entry.lifetime, field: "lifetime"))
  }

  private func settle(
    _ outcome: CacheWriteOutcome, _ write: CacheWrite, _ origin: ChangeOrigin
  ) throws(Failure) {
    switch outcome {
    case .stored(let position, let isLocal):
      counters.add(to: .sets)
      announcer.added(write, at: position, isLocal: isLocal, origin: origin)
      guard !isLocal else {
        throw Failure("Redis cannot be reached: only this server has it, for a short time")
      }
    case .leaseLost, .full:
      counters.add(to: .setsRefused)
      throw Failure("the cache is full")
    }
  }
}
