import KeelsonCacheRules
import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonClient

/// Who gets what of a flight, without a server.
@Suite(.timeLimit(.minutes(5))) struct CacheFlightTests {
  private static let key = "acme:test:account:1"
  private static let near = NearCache(
    byteLimit: 0, stalenessLimit: .seconds(600), silenceLimit: .seconds(60))

  /// A flight that has a value that will do.
  private static func flight() -> CacheFlight<Int> {
    let flight = CacheFlight<Int>(key, tags: [], near: near, isBackground: false)
    flight.offer(
      .init(
        output: 7, provenance: CacheProvenance(position: nil, tags: [], asOf: .now),
        freshUntil: .distantFuture, until: .distantFuture))
    return flight
  }

  @Test func nobodyMissesTheInterimValue() async throws {
    // It is given while the caller is about to wait.
    for round in 0..<5_000 {
      let flight = Self.flight()
      let caller = try #require(flight.enter())
      async let given = flight.value(for: caller)
      for _ in 0..<round % 50 { _ = flight.callerCount }
      flight.giveInterim()
      flight.finish(.success(9))
      let output = try await given.output
      try #require(output == 7)
    }
  }

  @Test(arguments: [false, true])
  func withoutALeaseNothingIsLoadedForNobody(_ isLeased: Bool) async throws {
    let flight = Self.flight()
    let caller = try #require(flight.enter())
    let end = CancellableWait<Void>()
    let loading = Task { _ = try? await end.value {} }
    flight.attach(loading)
    if !isLeased { flight.leaseEnded() }
    flight.giveInterim()
    #expect(try await flight.value(for: caller).output == 7)
    #expect(flight.isOpen == isLeased && loading.isCancelled != isLeased)
    // With a lease it goes on until that has ended.
    if isLeased { flight.leaseEnded() }
    await loading.value
    #expect(!flight.isOpen)
  }

  @Test func whoComesWhileWhatWasWaitedForIsDecodedGetsItOnlyIfItIsGoodForHim() async throws {
    // Nothing vouches for what has come.
    try await withCache(
      .with {
        $0.nearCacheBytes = 0
        $0.stalenessLimit = .zero
      }
    ) { (cache, server) async throws in
      let core = cache.core
      let isShared = Mutex<Bool?>(nil)
      SlowValue.decoding.withLock {
        $0 = {
          let other = core.flights.begin(Self.key) {
            CacheFlight<SlowValue>(Self.key, tags: [], near: core.near, isBackground: true)
          }
          if let other { core.flights.remove(other) }
          isShared.withLock { $0 = $0 ?? (other == nil) }
        }
      }
      defer { SlowValue.decoding.withLock { $0 = nil } }
      server.lease(Self.key)
      async let value = cache.remember(Self.key) { SlowValue(number: 1) }
      while server.calls("GetOrLease") < 2 { await Task.yield() }
      server.put(Self.key, #"{"number":77}"#)
      #expect(try await value.number == 77)
      #expect(isShared.withLock { $0 } == false)
    }
  }

  /// Of one test.
  private struct SlowValue: Codable, Sendable {
    /// What happens while one is decoded.
    static let decoding = Mutex<(@Sendable () -> Void)?>(nil)
    var number: Int

    init(number: Int) { self.number = number }

    init(from decoder: any Decoder) throws {
      number = try decoder.container(keyedBy: CodingKeys.self).decode(Int.self, forKey: .number)
      let body = Self.decoding.withLock { $0 }
      body?()
    }
  }
}
