import KeelsonCache
import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

/// The engine against a model that has only dictionaries: the same operations, one after the other, at
/// a time that the test sets.
struct MemoryCacheEngineModelTests {
  /// The test's clock, and what the engine tells its follower.
  private final class Bench: Sendable {
    let now = Atomic<Int64>(0)
    let events = Mutex<[CacheFeedEvent]>([])
  }

  private static let keys = ["a:b:c:1", "a:b:c:2", "a:b:d:1", "t:m:e:1", "t:m:e:22", "t:x:e:1"]
  private static let tags = ["red", "green", "blue"]
  private static let patterns = ["a:b:*", "*:1", "t:*:e:?", "t:m:e:1", "q*"]

  @Test(arguments: [nil, Duration.milliseconds(100)])
  func agreesWithTheModel(maximumAge: Duration?) throws {
    var random = SystemRandomNumberGenerator()
    let bench = Bench()
    let clock = MemoryCacheEngine.Clock(
      now: { CacheInstant(microseconds: bench.now.load(ordering: .relaxed)) },
      calendar: { UnixTime(microseconds: bench.now.load(ordering: .relaxed) + 7_000_000_000) })
    let engine = MemoryCacheEngine(byteLimit: 32 << 20, maximumAge: maximumAge, clock: clock)
    engine.follow { event in bench.events.withLock { $0.append(event) } }
    var run = ModelRun(
      engine: engine, model: CacheModel(maximumAge: maximumAge?.microseconds),
      time: { bench.now.store($0, ordering: .relaxed) })
    for _ in 0..<600 {
      engine.clear()
      run.begin()
      bench.events.withLock { $0 = [.start(engine.position)] }
      for _ in 0..<60 {
        try run.step(
          key: Self.keys.randomElement(using: &random)!, tags: Self.tags, patterns: Self.patterns,
          &random)
      }
      for key in Self.keys { run.checkGet(key) }
      // The follower has heard all of it in order.
      let heard = bench.events.withLock { $0 }.dropFirst().map { event -> Invalidation? in
        if case .invalidation(let invalidation) = event { invalidation } else { nil }
      }
      #expect(heard == run.model.history)
    }
    #expect(run.hits > 3_000)
    #expect(run.fills > 500)
  }
}

/// One engine, its model, and what was done to both.
private struct ModelRun {
  let engine: MemoryCacheEngine
  var model: CacheModel
  let time: (Int64) -> Void
  var hits = 0
  var fills = 0
  private var leases: [(key: String, lease: CacheLease)] = []
  private var next: UInt8 = 0

  init(engine: MemoryCacheEngine, model: CacheModel, time: @escaping (Int64) -> Void) {
    self.engine = engine
    self.model = model
    self.time = time
  }

  mutating func begin() {
    model.clear()
    leases = leases.suffix(1)
    time(model.now)
  }

  private func check(_ entry: CacheEntry?, _ expected: CacheModel.Entry?) {
    #expect((entry == nil) == (expected == nil))
    guard let entry, let expected else { return }
    #expect(entry.value == expected.value)
    #expect(entry.isAbsent == expected.isAbsent)
    #expect(entry.tags == expected.tags)
    #expect(entry.freshUntil.microseconds == expected.freshUntil + 7_000_000_000)
    #expect(entry.ttl.microseconds == expected.ttl / 1_000 * 1_000)
    #expect(entry.position.epoch == engine.position.epoch)
    #expect((expected.stamp...model.sequence).contains(entry.position.sequence))
  }

  mutating func checkGet(_ key: String) {
    let entry = engine.getNow(key)
    check(entry, model.fresh(key))
    if entry != nil { hits += 1 }
  }

  private mutating func write(
    _ key: String, _ tags: [String], _ random: inout SystemRandomNumberGenerator
  ) -> CacheWrite {
    next &+= 1
    let isAbsent = Int.random(in: 0..<5, using: &random) == 0
    return CacheWrite(
      key: key, value: isAbsent ? [] : [next, next], isAbsent: isAbsent,
      tags: tags.filter { _ in Bool.random(using: &random) }, lifetime: lifetime(&random))
  }

  private func lifetime(_ random: inout SystemRandomNumberGenerator) -> CacheLifetime {
    CacheLifetime(
      ttl: .milliseconds(Int.random(in: 1...400, using: &random)),
      staleFor: .milliseconds([0, 0, 50, 300].randomElement(using: &random)!))
  }

  mutating func step(
    key: String, tags: [String], patterns: [String], _ random: inout SystemRandomNumberGenerator
  ) throws {
    switch Int.random(in: 0..<22, using: &random) {
    case 0..<5: checkGet(key)
    case 5..<8:
      let write = write(key, tags, &random)
      model.set(write)
      #expect(engine.setNow(write) == stored(model.sequence))
    case 8..<12: lease(key, refreshAfter: [1, 1, 0.5].randomElement(using: &random)!)
    case 12..<15: fill(key, tags, &random)
    case 15:
      guard let (key, lease) = leases.randomElement(using: &random) else { return }
      let standing = model.lease(key).flatMap { $0.lease.token == lease.token ? $0 : nil }
      let isReleased = engine.releaseNow(lease, of: key)
      // A void one may have gone already.
      #expect(isReleased == (standing != nil) || standing?.isVoid == true)
      if isReleased { model.leases[key] = nil }
    case 16:
      let lifetime = lifetime(&random)
      #expect(engine.touchNow(key, lifetime) == model.touch(key, lifetime))
    case 17:
      let wasThere = model.kept(key) != nil
      model.invalidate(.keys([key]))
      let (found, position) = engine.deleteNow([key])
      #expect(found == [wasThere])
      #expect(position.sequence == model.sequence)
    case 18:
      try invalidate(.tags([tags.randomElement(using: &random)!]))
    case 19:
      try invalidate(.pattern(CachePattern(patterns.randomElement(using: &random)!)))
      if Int.random(in: 0..<8, using: &random) == 0 { try invalidate(.all) }
    case 20:
      model.now += .random(in: 0...80_000, using: &random)
      time(model.now)
      if Bool.random(using: &random) { engine.expireNow() }
    default:
      for _ in 0..<Int.random(in: 1...10, using: &random) { _ = engine.sweep() }
    }
  }

  private func stored(_ sequence: UInt64) -> CacheWriteOutcome {
    .stored(
      CachePosition(epoch: engine.position.epoch, sequence: sequence),
      isLocal: model.maximumAge != nil)
  }

  private mutating func invalidate(_ scope: Invalidation.Scope) throws {
    model.invalidate(scope)
    #expect(try engine.invalidateNow(scope).sequence == model.sequence)
  }

  private mutating func lease(_ key: String, refreshAfter: Double) {
    let duration: Duration = .milliseconds(70)
    let outcome = engine.leaseNow(
      key, CacheLeaseRequest(duration: duration, refreshAfter: refreshAfter))
    let (fresh, kept) = (model.fresh(key), model.kept(key))
    let standing = model.lease(key).flatMap { $0.isVoid ? nil : $0.lease }
    check(outcome.entry, kept)
    #expect(outcome.isFresh == (fresh != nil))
    let isWornOut = fresh.map { entry in
      refreshAfter < 1
        && Double(entry.freshUntil - model.now)
          <= Double(entry.ttl / 1_000 * 1_000) * (1 - refreshAfter)
    }
    #expect((outcome.lease != nil) == (isWornOut ?? true && standing == nil))
    #expect((outcome.ticket != 0) == (fresh == nil && standing != nil))
    guard let lease = outcome.lease else { return }
    #expect(lease.position == CachePosition(epoch: engine.position.epoch, sequence: model.sequence))
    #expect(lease.duration == duration)
    leases.append((key, lease))
    model.leases[key] = .init(
      token: lease.token, stamp: lease.position.sequence, granted: model.now,
      ends: model.now + duration.microseconds)
  }

  /// Under a lease of now or of some time ago.
  private mutating func fill(
    _ key: String, _ tags: [String], _ random: inout SystemRandomNumberGenerator
  ) {
    guard let (key, lease) = leases.suffix(4).randomElement(using: &random) else { return }
    let write = write(key, tags, &random)
    let outcome = engine.fillNow(write, under: lease)
    guard let (standing, isVoid) = model.lease(key), standing.token == lease.token else {
      #expect(outcome == .leaseLost)
      return
    }
    // A void one may have gone already; what is stored under it is void as well.
    #expect(outcome == stored(standing.stamp) || (isVoid && outcome == .leaseLost))
    guard outcome != .leaseLost else { return }
    model.fill(write, under: standing)
    fills += 1
  }
}
