import Foundation
import KeelsonCacheRules
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonClient

/// What `remember` does when all is well, and when it is not.
@Suite(.timeLimit(.minutes(10))) struct RememberTests {
  private static let key = "acme:test:account:1"

  private struct Failure: Error, Equatable {
    var number = 0
  }

  /// Counts its calls, and returns their number.
  private final class Loader: Sendable {
    private let count = Atomic(0)
    /// Every load says here that it has begun, and waits.
    let began = Signal<Void>()
    let gate = Gate()

    var calls: Int { count.load(ordering: .relaxed) }

    @Sendable func load() async -> Int {
      count.add(1, ordering: .relaxed).newValue
    }
    @Sendable func loadAtTheGate() async -> Int {
      let number = count.add(1, ordering: .relaxed).newValue
      began.send()
      await gate.wait()
      return number
    }
  }

  /// Waits until the client has heard of everything that was invalidated.
  private func heard(_ server: FakeCacheServer, _ cache: Cache) async {
    while cache.core.near.position?.sequence != server.sequence { await Task.yield() }
  }

  // MARK: One loader

  @Test func aHundredCallersOfAColdKeyLoadItOnce() async throws {
    try await withCache { (cache, server) async throws in
      let loader = Loader()
      let values = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<100 {
          group.addTask { try await cache.remember(Self.key, load: loader.loadAtTheGate) }
        }
        await loader.began.wait()
        loader.gate.open()
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(values == Array(repeating: 1, count: 100))
      #expect(loader.calls == 1 && cache.status.loads == 1)
      #expect(server.entry(Self.key)?.value == Array("1".utf8))
      #expect(try await cache.remember(Self.key, load: loader.load) == 1)
      while cache.core.flights.count > 0 { await Task.yield() }
    }
  }

  @Test func whatAnotherProcessLoadsIsWaitedFor() async throws {
    try await withCache { (cache, server) async throws in
      let loader = Loader()
      server.lease(Self.key)
      async let value = cache.remember(Self.key, load: loader.load)
      while server.calls("GetOrLease") < 2 { await Task.yield() }
      server.put(Self.key, "77")
      #expect(try await value == 77)
      #expect(loader.calls == 0 && cache.status.waits == 1)
    }
  }

  @Test func nobodyIsWaitedForForEver() async throws {
    try await withCache(.with { $0.policy.waitLimit = .milliseconds(50) }) {
      (cache, server) async throws in
      let loader = Loader()
      server.lease(Self.key)
      #expect(try await cache.remember(Self.key, load: loader.load) == 1)
      // It is the other's to store.
      #expect(server.calls("SetEntry") == 0 && server.hasLease(Self.key))
    }
  }

  @Test func whatWasInvalidatedWhileItWasLoadedIsNotSharedNorStored() async throws {
    try await withCache { (cache, server) async throws in
      // The stream has to be there for the client to hear of it.
      server.put("acme:test:account:2", "0")
      while cache.status.nearHits == 0 {
        _ = try await cache.get("acme:test:account:2", as: Int.self)
      }
      for request: KeelsonCacheV1.InvalidateEntriesRequest in [
        .init(keys: [Self.key]), .init(tags: ["red"]),
      ] {
        let loader = Loader()
        async let old = cache.remember(Self.key, tags: ["red"], load: loader.loadAtTheGate)
        await loader.began.wait()
        try server.invalidate(request)
        await heard(server, cache)
        // Who comes now gets what is loaded from now on. After tags the first one's lease stands.
        server.put(Self.key, "5", tags: ["red"])
        #expect(try await cache.remember(Self.key, tags: ["red"], load: loader.load) == 5)
        loader.gate.open()
        #expect(try await old == 1)
        #expect(try await cache.remember(Self.key, tags: ["red"], load: loader.load) == 5)
        try server.invalidate(.init(keys: [Self.key]))
        await heard(server, cache)
      }
    }
  }

  @Test func whereNothingIsHeardOfInvalidationsALoadIsSharedForAMomentOnly() async throws {
    try await withCache(
      .with {
        $0.nearCacheBytes = 0
        $0.stalenessLimit = .zero
      }
    ) { (cache, server) async throws in
      let loader = Loader()
      async let old = cache.remember(Self.key, load: loader.loadAtTheGate)
      await loader.began.wait()
      try server.invalidate(.init(keys: [Self.key]))
      #expect(try await cache.remember(Self.key, load: loader.load) == 2)
      loader.gate.open()
      #expect(try await old == 1)
      #expect(server.entry(Self.key)?.value == Array("2".utf8))
    }
  }

  @Test(arguments: 0..<5)
  func whatThisProcessMakesVoidEndsTheSharingOfLoads(_ step: Int) async throws {
    // All that is under way is young.
    try await withCache(.with { $0.stalenessLimit = .seconds(600) }) {
      (cache, server) async throws in
      let loader = Loader()
      async let old = cache.remember(Self.key, tags: ["red"], load: loader.loadAtTheGate)
      await loader.began.wait()
      switch step {
      case 0: try await cache.invalidate(keys: [Self.key])
      case 1: try await cache.invalidate(tags: ["red"])
      case 2: try await cache.invalidate(patterns: ["acme:*"])
      case 3: try await cache.delete(Self.key)
      default:
        // It may have been done all the same.
        server.fail(RPCError(.unavailable, "away"))
        await #expect(throws: RPCError.self) { try await cache.set(Self.key, 5) }
        server.fail(nil)
        try server.invalidate(.init(keys: [Self.key]))
      }
      // After tags the first one's lease stands.
      var policy = CachePolicy()
      policy.waitLimit = .zero
      let new = try await cache.remember(
        Self.key, tags: ["red"], policy: policy, load: loader.load)
      #expect(new == 2)
      loader.gate.open()
      #expect(try await old == 1)
    }
  }

  @Test func keysAreToldApartByTheirBytes() async throws {
    try await withCache(.with { $0.stalenessLimit = .seconds(600) }) { (cache, _) async throws in
      let loader = Loader()
      async let one = cache.remember("acme:test:name:\u{e9}", load: loader.loadAtTheGate)
      await loader.began.wait()
      #expect(try await cache.remember("acme:test:name:e\u{301}", load: loader.load) == 2)
      loader.gate.open()
      #expect(try await one == 1)
    }
  }

  @Test func whoComesAfterTheEndOfALeaseDoesNotWaitForItsLoader() async throws {
    try await withCache(
      .with {
        $0.stalenessLimit = .seconds(600)
        $0.policy.leaseDuration = .zero
      }
    ) { (cache, server) async throws in
      for isAway in [false, true] {
        if isAway { server.fail(RPCError(.unavailable, "away")) }
        let loader = Loader()
        let key = "acme:test:account:\(isAway)"
        async let hanging = cache.remember(key, load: loader.loadAtTheGate)
        await loader.began.wait()
        #expect(try await cache.remember(key, load: loader.load) == 2)
        loader.gate.open()
        #expect(try await hanging == 1)
      }
    }
  }

  // MARK: Failing loaders

  @Test func aLoadersErrorIsThrownAndItsLeaseGivenBack() async throws {
    try await withCache { (cache, server) async throws in
      let released = server.releases(Self.key)
      await #expect(throws: Failure(number: 3)) {
        try await cache.remember(Self.key) { () -> Int in throw Failure(number: 3) }
      }
      await released.wait()
      #expect(!server.hasLease(Self.key))
      #expect(try await cache.remember(Self.key) { 4 } == 4)
      #expect(cache.status.loads == 2 && cache.status.loadFailures == 1)
    }
  }

  @Test func aStaleValueIsGivenWhenLoadingFails() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, "7", freshFor: .seconds(-1))
      let value = try await cache.remember(Self.key) { () -> Int in throw Failure() }
      #expect(value == 7 && cache.status.staleValues == 1)
      var policy = CachePolicy()
      policy.staleLimit = .milliseconds(500)
      await #expect(throws: Failure.self) {
        try await cache.remember(Self.key, policy: policy) { () -> Int in throw Failure() }
      }
    }
  }

  @Test func aStaleValueIsGivenWhenLoadingTakesLong() async throws {
    try await withCache(
      .with {
        $0.policy.softTimeout = .milliseconds(10)
        // That it was not void when it was asked for is enough.
        $0.nearCacheBytes = 0
      }
    ) { (cache, server) async throws in
      server.put(Self.key, "7", freshFor: .seconds(-1))
      let loader = Loader()
      let stored = server.stores(Self.key)
      #expect(try await cache.remember(Self.key, load: loader.loadAtTheGate) == 7)
      // Who comes meanwhile gets it, too; loading goes on, once.
      #expect(try await cache.remember(Self.key, load: loader.loadAtTheGate) == 7)
      #expect(cache.status.staleValues == 2)
      loader.gate.open()
      await stored.wait()
      while cache.core.flights.count > 0 { await Task.yield() }
      #expect(try await cache.remember(Self.key, load: loader.load) == 1)
      #expect(loader.calls == 1)
    }
  }

  @Test func atTheHardTimeoutLoadingEnds() async throws {
    try await withCache(.with { $0.policy.hardTimeout = .seconds(2) }) {
      (cache, server) async throws in
      let began = Signal<Void>()
      let cancelled = Signal<Void>()
      let released = server.releases(Self.key)
      let hang: @Sendable () async throws -> Int = {
        began.send()
        await Self.untilCancelled()
        cancelled.send()
        throw CancellationError()
      }
      // Beside it, one that has something to fall back to. Where it had no time to hear of it: again.
      let other = "acme:test:account:2"
      server.put(other, "7", freshFor: .seconds(-1))
      async let stale = {
        while true {
          let began = Signal<Void>()
          let value = try? await cache.remember(other) { () -> Int in
            began.send()
            await Self.untilCancelled()
            throw CancellationError()
          }
          if value != nil || began.hasHappened { return value }
        }
      }()
      let error = await #expect(throws: RPCError.self) {
        try await cache.remember(Self.key, load: hang)
      }
      #expect(await stale == 7)
      #expect(cache.status.staleValues == 1)
      #expect(error?.code == .deadlineExceeded)
      #expect(error?.message.contains("hard timeout of 2.0 seconds") == true)
      // On a busy machine the time may be over before there is anything to cancel.
      if began.hasHappened { await cancelled.wait() }
      await released.wait()
    }
  }

  private static func untilCancelled() async {
    let (never, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in never {}
    continuation.finish()
  }

  @Test func aCallerThatIsCancelledLeavesTheOthersAlone() async throws {
    try await withCache(.with { $0.stalenessLimit = .seconds(600) }) {
      (cache, server) async throws in
      let loader = Loader()
      let first = Task { try await cache.remember(Self.key, load: loader.loadAtTheGate) }
      await loader.began.wait()
      let second = Task { try await cache.remember(Self.key, load: loader.load) }
      while cache.core.flights.callerCount < 2 { await Task.yield() }
      first.cancel()
      await #expect(throws: CancellationError.self) { try await first.value }
      loader.gate.open()
      #expect(try await second.value == 1)

      // When all are gone, so is the load.
      let other = "acme:test:account:2"
      let began = Signal<Void>()
      let cancelled = Signal<Void>()
      let released = server.releases(other)
      let last = Task {
        try await cache.remember(other) { () -> Int in
          began.send()
          await Self.untilCancelled()
          cancelled.send()
          throw CancellationError()
        }
      }
      await began.wait()
      last.cancel()
      await #expect(throws: CancellationError.self) { try await last.value }
      await cancelled.wait()
      await released.wait()
      #expect(try await cache.remember(other) { 2 } == 2)
    }
  }

  // MARK: Trouble with the cache

  @Test(arguments: [RPCError.Code.unavailable, .internalError, .unimplemented])
  func withoutTheCacheEveryCallLoads(_ code: RPCError.Code) async throws {
    let errors = Mutex<[RPCError]>([])
    try await withCache(
      .with {
        $0.onError = { error in errors.withLock { $0.append(error) } }
        // Loads are shared for that long.
        $0.stalenessLimit = .seconds(600)
      }
    ) { (cache, server) async throws in
      let start = ContinuousClock.now
      server.fail(RPCError(code, "away"))
      for number in 1...20 {
        #expect(try await cache.remember(Self.key) { number } == number)
      }
      // It is not asked again and again.
      #expect(Self.tries(since: start).contains(server.calls("GetOrLease")))
      #expect(cache.status.isPassedBy && cache.status.error?.code == code)
      #expect(errors.withLock { $0.count } == server.calls("GetOrLease"))
      let loader = Loader()
      async let one = cache.remember(Self.key, load: loader.loadAtTheGate)
      await loader.began.wait()
      async let two = cache.remember(Self.key, load: loader.loadAtTheGate)
      while cache.core.flights.callerCount < 2 { await Task.yield() }
      loader.gate.open()
      #expect(try await [one, two] == [1, 1])
    }
  }

  /// How often a cache that is away may have been asked: until the breaker opens, then once a pause.
  private static func tries(since start: ContinuousClock.Instant) -> ClosedRange<Int> {
    let pauses = Int(start.duration(to: .now) / CacheBreaker.pause)
    return CacheBreaker.failureLimit...CacheBreaker.failureLimit + pauses
  }

  @Test func aCacheThatHangsCostsLittle() async throws {
    try await withCache(.with { $0.callTimeout = .milliseconds(20) }) {
      (cache, server) async throws in
      let start = ContinuousClock.now
      server.hang()
      for number in 1...20 {
        #expect(try await cache.remember(Self.key) { number } == number)
      }
      // The last request may be on its way still.
      while server.calls("GetOrLease") < CacheBreaker.failureLimit { await Task.yield() }
      #expect(Self.tries(since: start).contains(server.calls("GetOrLease")))
      #expect(cache.status.error?.code == .deadlineExceeded)
    }
  }

  @Test func aLeaseThatComesTooLateIsGivenBack() async throws {
    try await withCache(.with { $0.callTimeout = .milliseconds(20) }) {
      (cache, server) async throws in
      let (arrived, gate) = server.hold("GetOrLease")
      let released = server.releases(Self.key)
      #expect(try await cache.remember(Self.key) { 1 } == 1)
      await arrived.wait()
      #expect(cache.status.error?.code == .deadlineExceeded && server.hasLease(Self.key))
      gate.open()
      await released.wait()
      #expect(!server.hasLease(Self.key))
    }
  }

  @Test func whatTheCacheRefusesIsReturned() async throws {
    try await withCache { (cache, server) async throws in
      server.fail(RPCError(.invalidArgument, "tags: too many"))
      for number in 1...10 {
        #expect(try await cache.remember(Self.key) { number } == number)
      }
      #expect(server.calls("GetOrLease") == 10 && !cache.status.isPassedBy)
    }
  }

  @Test func aValueThatIsTooLargeIsReturnedAndNotStored() async throws {
    try await withCache { (cache, server) async throws in
      let released = server.releases(Self.key)
      let large = [UInt8](repeating: 1, count: (1 << 20) + 1)
      let loaded = try await cache.remember(Self.key) { large }
      #expect(loaded == large)
      await released.wait()
      #expect(server.calls("SetEntry") == 0 && cache.status.unstored == 1)
      // A server that takes less says so.
      let smaller = try await cache.remember("acme:test:account:2") {
        [UInt8](repeating: 1, count: 1 << 20)
      }
      #expect(smaller.count == 1 << 20)
    }
  }

  // MARK: Values

  @Test func thatThereIsNothingIsRemembered() async throws {
    try await withCache { (cache, server) async throws in
      let calls = Atomic(0)
      for _ in 0..<3 {
        let value = try await cache.remember(Self.key) { () -> Int? in
          calls.add(1, ordering: .relaxed)
          return nil
        }
        #expect(value == nil)
      }
      #expect(calls.load(ordering: .relaxed) == 1)
      let stored = try #require(server.entry(Self.key))
      #expect(stored.absent && stored.ttl?.clampedDuration == .seconds(30))
      #expect(try await cache.get(Self.key, as: Int.self) == nil)
      // Who needs one loads it.
      #expect(try await cache.remember(Self.key) { 5 } == 5)
      #expect(try await cache.remember(Self.key) { () -> Int? in nil } == 5)
    }
  }

  @Test func anotherTypesValueIsLoadedAnew() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, #""text""#)
      #expect(try await cache.remember(Self.key) { 5 } == 5)
      #expect(server.entry(Self.key)?.value == Array("5".utf8))
      // Nobody else's copies become void by it.
      #expect(server.sequence == 0)
      // A copy of another type is decoded anew, if it can be.
      while cache.status.nearHits == 0 { _ = try await cache.remember(Self.key) { 6 } }
      #expect(try await cache.remember(Self.key) { 0.5 } == 5.0)
      #expect(try await cache.remember(Self.key) { "new" } == "new")
    }
  }

  @Test func aValueThatIsAskedForIsLoadedAnewAheadOfItsEnd() async throws {
    try await withCache(
      .with {
        $0.policy.refreshAfter = 0.5
        $0.stalenessLimit = .seconds(60)
      }
    ) { (cache, server) async throws in
      let loader = Loader()
      let stored = server.stores(Self.key)
      // 60 s of life, of which 10 are left.
      server.put(Self.key, "100", freshFor: .seconds(10))
      #expect(try await cache.remember(Self.key, load: loader.loadAtTheGate) == 100)
      await loader.began.wait()
      #expect(try await cache.remember(Self.key, load: loader.load) == 100)
      loader.gate.open()
      await stored.wait()
      while try await cache.remember(Self.key, load: loader.load) != 1 { await Task.yield() }
      #expect(loader.calls == 1)
    }
  }

  @Test func aCopyIsLoadedAnewToo() async throws {
    try await withCache(.with { $0.policy.refreshAfter = 0.5 }) {
      (cache, server) async throws in
      for number in 1... {
        let (key, loader) = ("acme:test:account:\(number)", Loader())
        // 60 s of life, of which 20 are left; another loads it anew.
        server.put(key, "100", freshFor: .seconds(20))
        server.lease(key)
        let copies = cache.status.copies
        while cache.status.copies == copies {
          #expect(try await cache.remember(key, load: loader.load) == 100)
        }
        // The other has failed.
        server.put(key, "100", freshFor: .seconds(20))
        let hits = cache.status.nearHits
        #expect(try await cache.remember(key, load: loader.load) == 100)
        let isCopy = cache.status.nearHits > hits
        while try await cache.remember(key, load: loader.load) == 100 { await Task.yield() }
        #expect(loader.calls == 1)
        // On a busy machine the server may have answered in its place: then once more.
        if isCopy { return }
      }
    }
  }
}
