import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonCache

/// Redis away, and back. Source: SYS-115.
struct FallbackEngineTests {
  private static let key = "acme:shop:article:1"

  /// The fallback over a breakable engine, and what it tells.
  private final class Setting: Sendable {
    let shared: BreakableEngine
    let fallback: FallbackEngine
    let changes = Mutex<[FallbackChange]>([])
    let news = AsyncStream.makeStream(of: FallbackChange.self)
    let starts = Mutex<[CachePosition]>([])

    init(
      fallbackTTL: Duration = .seconds(86_400), outageLog: Int = 100,
      openFor: Duration = .milliseconds(5)
    ) {
      var limits = CacheLimits()
      limits.breaker.openFor = openFor
      limits.outageSettling = .milliseconds(1)
      limits.fallbackTTL = fallbackTTL
      limits.outageLog = outageLog
      shared = BreakableEngine(MemoryCacheEngine(byteLimit: 1 << 20))
      fallback = FallbackEngine(
        over: shared, limits: limits,
        logger: Logger(component: "test", humanReadable: false, sink: { _ in }))
      fallback.follow { [self] event in
        if case .start(let position) = event { starts.withLock { $0.append(position) } }
      }
    }

    /// Runs the fallback for as long as the body does.
    func run(_ body: (Setting) async throws -> Void) async throws {
      let running = Task { [fallback, news] in
        await fallback.run { news.continuation.yield($0) }
      }
      do {
        try await body(self)
      } catch {
        running.cancel()
        throw error
      }
      running.cancel()
      await running.value
    }

    /// Breaks the shared engine, and asks until the memory has taken its place.
    func breakDown(_ mood: BreakableEngine.Mood = .refusing) async throws {
      shared.mood = mood
      for _ in 0..<5 { _ = try await fallback.get([FallbackEngineTests.key]) }
      #expect(fallback.isActive)
    }

    /// Waits until the shared engine is used again.
    func waitForEnd() async {
      for await kind in news.stream {
        if case .ended = kind { return }
      }
    }

    func set(_ value: String, _ key: String = FallbackEngineTests.key) async throws
      -> CacheWriteOutcome
    {
      try await fallback.set([
        CacheWrite(
          key: key, value: Array(value.utf8), tags: ["t"], lifetime: .init(ttl: .seconds(86_400)))
      ])[0]
    }

    func value(_ key: String = FallbackEngineTests.key) async throws -> String? {
      try await fallback.get([key])[0].map { String(decoding: $0.value, as: UTF8.self) }
    }
  }

  @Test func aBrokenEngineBreaksNobody() async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      try await setting.breakDown()
      #expect(try await setting.value() == nil, "what Redis had cannot be known")
      guard case .stored(_, isLocal: true) = try await setting.set("new") else {
        Issue.record("It was not stored here.")
        return
      }
      #expect(try await setting.value() == "new")
      let calls = setting.shared.calls
      for _ in 0..<100 { _ = try await setting.fallback.measure() }
      #expect(try await setting.fallback.measure().kind == .fallback)
      #expect(setting.shared.calls - calls < 50, "an open breaker lets only probes through")
      #expect(setting.fallback.age(at: .now) == nil)
    }
  }

  @Test func whatWasWrittenMeanwhileIsVoidOnReturn() async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      _ = try await setting.set("kept", "acme:shop:article:2")
      try await setting.breakDown()
      _ = try await setting.set("new")
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(!setting.fallback.isActive)
      #expect(try await setting.value() != "old")
      #expect(try await setting.value("acme:shop:article:2") == "kept")
      #expect(try await setting.fallback.measure().kind == .memory)
    }
  }

  /// Whoever puts it in order waits for something to do, and an outage without writes is something.
  @Test(.timeLimit(.minutes(1))) func anOutageWithoutWritesEnds() async throws {
    try await Setting().run { setting in
      for _ in 0..<20 {
        for _ in 0..<20 { await Task.yield() }
        try await setting.breakDown()
        setting.shared.mood = .well
        await setting.waitForEnd()
        #expect(!setting.fallback.isActive)
      }
    }
  }

  /// A server that stops while the breaker is open does what was noted before it goes.
  @Test func whatIsNotedIsVoidWhenTheServerHasStopped() async throws {
    let setting = Setting(openFor: .seconds(86_400))
    try await setting.run { setting in
      _ = try await setting.set("old")
      try await setting.breakDown()
      _ = try await setting.set("new")
      setting.shared.mood = .well
      #expect(setting.shared.memory.getNow([Self.key])[0] != nil)
    }
    #expect(setting.shared.memory.getNow([Self.key])[0] == nil)
  }

  @Test func moreThanCanBeRememberedMakesAllVoid() async throws {
    try await Setting(outageLog: 3).run { setting in
      _ = try await setting.set("old", "acme:shop:article:9")
      try await setting.breakDown()
      for number in 0..<4 { _ = try await setting.set("new", "acme:shop:article:\(number)") }
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(try await setting.value("acme:shop:article:9") == nil)
    }
  }

  @Test(arguments: [Invalidation.Scope.keys([key]), .tags(["t"]), .all])
  func anInvalidationFailsAndIsMadeUpFor(scope: Invalidation.Scope) async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      try await setting.breakDown()
      _ = try await setting.set("local")
      await #expect(throws: CacheEngineError.self) { try await setting.fallback.invalidate(scope) }
      #expect(try await setting.value() == nil, "here it is void")
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(try await setting.value() == nil)
    }
  }

  @Test func anInvalidationWhoseAnswerIsLostFailsAndHolds() async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      setting.shared.mood = .refusing
      await #expect(throws: CacheEngineError.self) {
        try await setting.fallback.delete([Self.key])
      }
      setting.shared.mood = .well
      #expect(!setting.fallback.isActive, "one failure is not five")
      #expect(try await setting.value() == nil, "it is noted, and the engine not trusted with it")
    }
  }

  @Test func aSetWhoseAnswerIsLostIsNotOvertaken() async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      setting.shared.mood = .losingAnswers
      _ = try await setting.set("new")
      setting.shared.mood = .well
      let found = try await setting.value()
      #expect(found == "new" || found == nil)
    }
  }

  @Test func anEngineThatCannotWriteIsLeft() async throws {
    try await Setting().run { setting in
      _ = try await setting.set("old")
      setting.shared.mood = .readOnly
      _ = try await setting.set("new")
      #expect(try await setting.value() == "new")
      // Making it void there fails again and again, until the breaker opens.
      for await kind in setting.news.stream {
        if case .activated = kind { break }
      }
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(try await setting.value() != "old")
    }
  }

  @Test func watchersStartAnewBothWays() async throws {
    let setting = Setting()
    try await setting.run { setting in
      let shared = setting.starts.withLock { $0.last?.epoch }
      try await setting.breakDown()
      let local = setting.starts.withLock { $0.last?.epoch }
      #expect(local != shared)
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(setting.starts.withLock { $0.last?.epoch } == shared)
    }
  }

  @Test func aLeaseOfBeforeIsLost() async throws {
    try await Setting().run { setting in
      let write = CacheWrite(key: Self.key, value: [1], lifetime: .init(ttl: .seconds(86_400)))
      let outcome = try await setting.fallback.lease(Self.key, .init(duration: .seconds(86_400)))
      let lease = try #require(outcome.lease)
      try await setting.breakDown()
      #expect(try await setting.fallback.fill(write, under: lease) == .leaseLost)
      let again = try await setting.fallback.lease(Self.key, .init(duration: .seconds(86_400)))
      let local = try #require(again.lease)
      guard case .stored(_, isLocal: true) = try await setting.fallback.fill(write, under: local)
      else {
        Issue.record("It was not stored here.")
        return
      }
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(try await setting.value() == nil)
    }
  }

  @Test(arguments: [true, false])
  func aLeaseThatIsGivenBackMeanwhileKeepsNobodyWaiting(_ isFilled: Bool) async throws {
    try await Setting().run { setting in
      let request = CacheLeaseRequest(duration: .seconds(86_400))
      let lease = try #require(try await setting.fallback.lease(Self.key, request).lease)
      try await setting.breakDown()
      if isFilled {
        let write = CacheWrite(key: Self.key, value: [1], lifetime: .init(ttl: .seconds(86_400)))
        #expect(try await setting.fallback.fill(write, under: lease) == .leaseLost)
      } else {
        #expect(try await !setting.fallback.release(lease, of: Self.key))
      }
      setting.shared.mood = .well
      await setting.waitForEnd()
      #expect(try await setting.fallback.lease(Self.key, request).lease != nil)
    }
  }

  /// What one server says and hears is in order, whatever the shared engine does meanwhile: a get
  /// gives the last value set, or none.
  @Test func randomFaultsBringBackNothingOld() async throws {
    try await Setting(outageLog: 4).run { setting in
      let keys = (0..<6).map { "acme:shop:article:\($0)" }
      var last: [String: Int] = [:]
      for step in 0..<40_000 {
        if step % 20 == 0 {
          setting.shared.mood = [.well, .well, .refusing, .losingAnswers, .readOnly]
            .randomElement()!
        }
        let key = keys.randomElement()!
        switch Int.random(in: 0..<10) {
        case 0..<4:
          last[key] = step
          _ = try await setting.set("\(step)", key)
        case 4:
          // One that fails may have happened or not.
          if (try? await setting.fallback.delete([key])) != nil { last[key] = nil }
        case 5 where Bool.random():
          if (try? await setting.fallback.invalidate(.tags(["t"]))) != nil { last = [:] }
        default:
          guard let found = try await setting.value(key) else { continue }
          #expect(Int(found) == last[key], "at \(step)")
        }
        if step % 7 == 0 { await Task.yield() }
      }
    }
  }
}
