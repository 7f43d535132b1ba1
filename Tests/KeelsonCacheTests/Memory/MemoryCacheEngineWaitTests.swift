import KeelsonCache
import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

/// Who waits for what another loads is woken by whatever ends that, and nobody looks again and again.
/// Leases last an hour, and nobody would wait for less: a wait that nothing ends fails by the tests'
/// own time, however busy the machine is.
@Suite(.timeLimit(.minutes(10))) struct MemoryCacheEngineWaitTests {
  private let engine = MemoryCacheEngine(byteLimit: 32 << 20)
  private let key = "a:b:c:1"
  private let hour = CacheLifetime(ttl: .seconds(3_600))

  enum End: CaseIterable, Sendable {
    case fill, release, delete, set, pattern, all, clear
  }

  private func lease(for duration: Duration = .seconds(3_600)) throws -> CacheLease {
    try #require(engine.leaseNow(key, CacheLeaseRequest(duration: duration)).lease)
  }

  private func end(_ lease: CacheLease, _ way: End) throws {
    let write = CacheWrite(key: key, value: [1], lifetime: hour)
    switch way {
    case .fill: _ = engine.fillNow(write, under: lease)
    case .release: #expect(engine.releaseNow(lease, of: key))
    case .delete: _ = engine.deleteNow([key])
    case .set: _ = engine.setNow(write)
    case .pattern: try engine.invalidateNow(.pattern(CachePattern("a:*")))
    case .all: try engine.invalidateNow(.all)
    case .clear: engine.clear()
    }
  }

  /// A hundred wait, or come to wait, while the lease ends.
  @Test(arguments: End.allCases) func endsTheWait(way: End) async throws {
    let lease = try lease()
    try await withThrowingTaskGroup { group in
      for number in 0..<100 {
        if number == 50 { group.addTask { try end(lease, way) } }
        group.addTask {
          let outcome = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600)))
          // Whoever comes after the end gets one, and keeps nobody waiting.
          if let late = outcome.lease { _ = engine.releaseNow(late, of: key) }
          guard outcome.ticket != 0 else { return }
          await engine.wait(for: key, after: outcome.ticket, until: .now + .seconds(3_600))
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func oneOfThoseWhoWaitedLoads() async throws {
    let first = try lease()
    let loads = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<50 {
        group.addTask {
          while true {
            let outcome = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600)))
            if outcome.isFresh { return 0 }
            if let lease = outcome.lease {
              await Task.yield()
              let write = CacheWrite(key: key, value: [1], lifetime: hour)
              #expect(engine.fillNow(write, under: lease) != .leaseLost)
              return 1
            }
            await engine.wait(for: key, after: outcome.ticket, until: .now + .seconds(3_600))
          }
        }
      }
      #expect(engine.releaseNow(first, of: key))
      return try await group.reduce(0, +)
    }
    #expect(loads == 1)
  }

  /// The engine's clock stands still until the wait is over: the lease cannot end ahead of it.
  @Test func theEndOfTheLeaseEndsTheWait() async throws {
    let time = Mutex(CacheInstant.now)
    let engine = MemoryCacheEngine(
      byteLimit: 1 << 20,
      clock: .init(now: { time.withLock { $0 } }, calendar: { UnixTime.now }))
    let request = CacheLeaseRequest(duration: .milliseconds(20))
    #expect(engine.leaseNow(key, request).lease != nil)
    let outcome = engine.leaseNow(key, request)
    #expect(outcome.ticket != 0)
    await engine.wait(for: key, after: outcome.ticket, until: .now + .seconds(3_600))
    #expect(engine.leaseNow(key, request).ticket == outcome.ticket)
    time.withLock { $0 = $0 + .milliseconds(20) }
    #expect(engine.leaseNow(key, request).lease != nil)
  }

  @Test func whatHasHappenedAlreadyIsNotWaitedFor() async throws {
    let lease = try lease()
    let outcome = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600)))
    #expect(engine.releaseNow(lease, of: key))
    // Another's lease stands by now; the ticket is for the one that has ended.
    _ = try self.lease()
    await engine.wait(for: key, after: outcome.ticket, until: .now + .seconds(3_600))
    #expect(
      engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600))).ticket != outcome.ticket)
  }

  @Test func theDeadlineEndsTheWait() async throws {
    _ = try lease()
    let ticket = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600))).ticket
    #expect(ticket != 0)
    let began = ContinuousClock.now
    await engine.wait(for: key, after: ticket, until: began + .milliseconds(20))
    #expect(ContinuousClock.now - began >= .milliseconds(20))
  }

  @Test func whoIsCancelledWaitsNoMore() async throws {
    _ = try lease()
    let ticket = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600))).ticket
    let task = Task { await engine.wait(for: key, after: ticket, until: .now + .seconds(3_600)) }
    task.cancel()
    await task.value
  }
}
