import KeelsonCache
import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

/// Nobody reads what was void before the read began.
struct MemoryCacheEngineRaceTests {
  private static let hour = CacheLifetime(ttl: .seconds(3_600))

  enum Kind: CaseIterable, Sendable {
    case key, tag, pattern, all, set
  }

  /// - Parameter value: what is true from now on.
  private static func invalidate(
    _ engine: MemoryCacheEngine, _ key: String, _ kind: Kind, value: [UInt8]
  ) throws {
    switch kind {
    case .key: try engine.invalidateNow(.keys([key]))
    case .tag: try engine.invalidateNow(.tags([key]))
    case .pattern: try engine.invalidateNow(.pattern(CachePattern("\(key.dropLast())?")))
    case .all: try engine.invalidateNow(.all)
    case .set:
      _ = engine.setNow(CacheWrite(key: key, value: value, tags: [key], lifetime: hour))
    }
  }

  /// What a loader read before an invalidation is not given out after it, whether or not it was swept
  /// in between.
  @Test(arguments: Kind.allCases, [0, 1, 100])
  func aFillAfterAnInvalidationIsVoid(kind: Kind, sweeps: Int) throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    let key = "a:b:c:1"
    let lease = try #require(
      engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600))).lease)
    try Self.invalidate(engine, key, kind, value: [2])
    for _ in 0..<sweeps where !engine.sweep() { break }
    let old = CacheWrite(key: key, value: [1], tags: [key], lifetime: Self.hour)
    let outcome = engine.fillNow(old, under: lease)
    if kind == .key || kind == .set { #expect(outcome == .leaseLost) }
    #expect(engine.getNow(key)?.value == (kind == .set ? [2] : nil))
    // The next one loads.
    let next = engine.leaseNow(key, CacheLeaseRequest(duration: .seconds(3_600)))
    guard kind != .set else { return #expect(next.isFresh) }
    let new = try #require(next.lease)
    let fresh = CacheWrite(key: key, value: [2], tags: [key], lifetime: Self.hour)
    #expect(engine.fillNow(fresh, under: new) != .leaseLost)
    #expect(engine.getNow(key)?.value == [2])
    // Not by the old loader.
    #expect(engine.fillNow(old, under: lease) == .leaseLost)
    #expect(engine.getNow(key)?.value == [2])
  }

  /// Where a key stands: the version that is true, and the one that whoever reads now has to see.
  private final class Truth: Sendable {
    let version = Atomic<UInt32>(0)
    let seen = Atomic<UInt32>(0)
  }

  /// Several threads load, invalidate in every way, read, and sweep. A writer changes the truth, then
  /// invalidates, and then says from which version on everybody has to be.
  @Test func readersNeverSeeWhatWasVoid() async throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    let keys = (0..<4).map { "a:b:\($0):1" }
    let truths = keys.map { _ in Truth() }
    let rounds = 4_000
    let counts = try await withThrowingTaskGroup(of: (hits: Int, fills: Int).self) { group in
      for _ in 0..<2 {
        group.addTask {
          var hits = 0
          for round in 0..<rounds * 2 {
            let index = Int.random(in: 0..<keys.count)
            let oldest = truths[index].seen.load(ordering: .sequentiallyConsistent)
            let value = engine.getNow(keys[index])?.value
            if let value {
              hits += 1
              try #require(Self.version(value) >= oldest)
            }
            if round.isMultiple(of: 64) { await Task.yield() }
          }
          return (hits, 0)
        }
        group.addTask {
          var fills = 0
          for round in 0..<rounds {
            let index = Int.random(in: 0..<keys.count)
            let request = CacheLeaseRequest(
              duration: .seconds(3_600), refreshAfter: .leastNonzeroMagnitude)
            guard let lease = engine.leaseNow(keys[index], request).lease else {
              // The other one has it.
              await Task.yield()
              continue
            }
            let version = truths[index].version.load(ordering: .sequentiallyConsistent)
            if round.isMultiple(of: 3) { await Task.yield() }
            let write = CacheWrite(
              key: keys[index], value: Self.bytes(version), tags: [keys[index], "other"],
              lifetime: Self.hour)
            if engine.fillNow(write, under: lease) != .leaseLost { fills += 1 }
          }
          return (0, fills)
        }
      }
      group.addTask {
        for round in 0..<rounds {
          let index = Int.random(in: 0..<keys.count)
          let version = truths[index].version.wrappingAdd(1, ordering: .sequentiallyConsistent)
            .newValue
          let kind = Kind.allCases.randomElement() ?? .key
          do {
            try Self.invalidate(engine, keys[index], kind, value: Self.bytes(version))
          } catch let error as CacheEngineError where error.code == .full {
            while engine.sweep() {}
            try Self.invalidate(engine, keys[index], kind, value: Self.bytes(version))
          }
          truths[index].seen.store(version, ordering: .sequentiallyConsistent)
          if round.isMultiple(of: 5) { _ = engine.sweep() }
          if round.isMultiple(of: 16) { await Task.yield() }
        }
        return (0, 0)
      }
      var sum = (hits: 0, fills: 0)
      for try await counts in group {
        sum.hits += counts.hits
        sum.fills += counts.fills
      }
      return sum
    }
    #expect(counts.hits > 100)
    #expect(counts.fills > 100)
  }

  private static func bytes(_ version: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: version >> ($0 * 8)) }
  }

  private static func version(_ bytes: [UInt8]) -> UInt32 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Whoever follows applies what it hears in order, while several threads write; what a get then gives
  /// is never called void by what was heard before it.
  @Test func theFollowerHearsEverythingInOrder() async throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    let view = Mutex(InvalidationView(epoch: 1))
    let problems = Mutex(0)
    engine.follow { event in
      view.withLock { view in
        switch event {
        case .start(let position):
          view = InvalidationView(epoch: position.epoch, sequence: position.sequence)
        case .invalidation(let invalidation):
          if view.apply(invalidation) != .applied { problems.withLock { $0 += 1 } }
        }
      }
    }
    await withTaskGroup { group in
      for number in 0..<4 {
        group.addTask {
          for round in 0..<500 {
            let key = "a:b:c:\(Int.random(in: 0..<20))"
            switch Int.random(in: 0..<8) {
            case 0: _ = engine.deleteNow([key, "a:b:d:\(number)"])
            case 1: _ = try? engine.invalidateNow(.tags([key]))
            case 2 where number == 0 && round.isMultiple(of: 50): engine.clear()
            default:
              _ = engine.setNow(CacheWrite(key: key, value: [1], lifetime: Self.hour))
            }
          }
        }
      }
    }
    #expect(problems.withLock { $0 } == 0)
    let heard = view.withLock { CachePosition(epoch: $0.epoch, sequence: $0.sequence) }
    #expect(heard == engine.position)
  }
}
