import KeelsonCacheRules
import KeelsonCore
import Testing

@testable import KeelsonClient

/// The rules by which copies are kept and given, each by itself, and all of them at random.
@Suite struct NearCacheStateMachineTests {
  typealias Machine = NearCacheStateMachine<Int>
  private typealias Bench = NearCacheBench

  static let key = "acme:test:thing:1"
  static let other = "acme:test:thing:2"

  private static func position(_ sequence: UInt64, epoch: UInt64 = 7) -> CachePosition {
    CachePosition(epoch: epoch, sequence: sequence)
  }

  private static func answer(
    _ value: Int, stamp: UInt64, epoch: UInt64 = 7, tags: [String] = [],
    freshFor: Duration = .seconds(60), refreshAfter: Duration? = nil
  ) -> Machine.Answer {
    .init(
      value: value, valueBytes: 8, position: position(stamp, epoch: epoch), tags: tags,
      freshFor: freshFor, refreshAfter: refreshAfter)
  }

  // MARK: Giving

  @Test func aCopyIsGivenForAsLongAsIsKnownThatNothingHappened() {
    let bench = Bench()
    #expect(bench.keep(Self.answer(1, stamp: 9)))
    #expect(bench.value(at: 299) == 1)
    #expect(bench.value(at: 300) == nil)
    // Lateness alone costs no copies.
    bench.sync(at: 1_000)
    #expect(bench.value(at: 1_000) == 1)
  }

  @Test func theServersOwnLatenessCounts() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    bench.sync(at: 1_000, age: .milliseconds(60))
    #expect(bench.value(at: 1_039) == 1)
    #expect(bench.value(at: 1_040) == nil)
  }

  @Test func aServerThatDoesNotKnowStopsCopies() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    bench.sync(at: 205, age: nil)
    #expect(bench.value() == nil)
  }

  @Test func aPongCountsFromWhenItsPingWasSent() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    guard case .ping(let number, _) = bench.tick(at: 250) else {
      Issue.record("no ping")
      return
    }
    bench.pong(number + 1)
    #expect(bench.value(at: 300) == nil)
    bench.pong(number)
    #expect(bench.value(at: 349) == 1)
    #expect(bench.value(at: 350) == nil)
  }

  @Test func aCopyEndsWithItsTimeCountedFromTheCallsBeginning() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9, freshFor: .milliseconds(50)))
    #expect(bench.value(at: 249) == 1)
    #expect(bench.value(at: 250) == nil)
    #expect(!bench.keep(Self.answer(1, stamp: 9, freshFor: .milliseconds(1))))
  }

  @Test func aCopyAsksOnceToBeLoadedAnew() {
    let bench = Bench()
    bench.keep(
      Self.answer(1, stamp: 9, freshFor: .milliseconds(90), refreshAfter: .milliseconds(40)))
    #expect(bench.wantsRefresh(at: 239) == false)
    #expect(bench.wantsRefresh(at: 240) == true)
    #expect(bench.wantsRefresh(at: 241) == false)
    // Nothing has come of it: once more, half way to the end.
    #expect(bench.wantsRefresh(at: 265) == true)
    #expect(bench.wantsRefresh(at: 266) == false)
  }

  // MARK: What becomes void

  @Test func aKeysInvalidationDropsItsCopyAlone() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    bench.hear(11, .keys([Self.other]), at: 202)
    #expect(bench.value() == 1)
    bench.hear(12, .keys([Self.key]), at: 203)
    #expect(bench.value() == nil)
    #expect(bench.invalidations == 2)
  }

  @Test func aCopyThatIsNewerThanAnInvalidationStays() {
    let bench = Bench()
    // It was set from here; the stream tells that later.
    bench.keep(Self.answer(1, stamp: 11))
    bench.hear(11, .keys([Self.key]), at: 203)
    #expect(bench.value() == 1)
  }

  @Test(arguments: [
    Invalidation.Scope.tags(["red"]), .pattern(try! CachePattern("acme:*:1")), .all,
  ]) func tagsPatternsAndAllMakeOlderCopiesVoid(_ scope: Invalidation.Scope) {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 10, tags: ["blue", "red"]))
    #expect(bench.value() == 1)
    bench.hear(11, scope, at: 203)
    #expect(bench.value() == nil)
    // What another server still answers, which has not heard of it, is not kept; what is new, is.
    #expect(!bench.keep(Self.answer(1, stamp: 10, tags: ["red"])))
    #expect(bench.judge(Self.position(10), tags: ["red"]) == .overtaken)
    #expect(bench.keep(Self.answer(2, stamp: 11, tags: ["red"])))
    #expect(bench.value() == 2)
  }

  @Test func othersTagsAndPatternsLeaveACopy() throws {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 10, tags: ["blue"]))
    bench.hear(11, .tags(["red"]), at: 203)
    bench.hear(12, .pattern(try CachePattern("acme:*:2")), at: 203)
    #expect(bench.value() == 1)
    bench.hear(13, .tags(["blue"]), at: 204)
    #expect(bench.value() == nil)
  }

  @Test func aGapAnotherLifeAndANewStreamVoidAllCopies() {
    for step in 0..<4 {
      let bench = Bench()
      bench.keep(Self.answer(1, stamp: 9))
      switch step {
      case 0: bench.hear(12, .keys([Self.other]), at: 202)
      case 1: bench.start(Self.position(10, epoch: 8), at: 202)
      case 2: bench.start(Self.position(10), at: 202)
      default:
        bench.disconnect(at: 202)
        #expect(bench.stream == nil)
        bench.start(Self.position(10), at: 202)
      }
      bench.sync(at: 400)
      #expect(bench.count == 0)
      #expect(bench.value(at: 400) == nil)
      // And what an earlier call brings comes too late.
      #expect(!bench.keep(Self.answer(1, stamp: 9), began: 301, at: 400))
      #expect(bench.refusals == 1)
    }
  }

  @Test func moreTagsThanAreRememberedVoidAllCopies() {
    let bench = Bench(tags: 2)
    bench.keep(Self.answer(1, stamp: 10))
    bench.hear(11, .tags(["a"]), at: 203)
    #expect(bench.value() == 1)
    bench.hear(12, .tags(["b", "c"]), at: 203)
    #expect(bench.count == 0 && bench.flushes == 2)
    // A server that knows no better would be believed now, but for its call's early beginning.
    #expect(!bench.keep(Self.answer(1, stamp: 10, tags: ["a"]), began: 204, at: 205))
    #expect(bench.keep(Self.answer(2, stamp: 12, tags: ["a"]), began: 303, at: 304))
  }

  @Test func patternsThatNoCopyNeedsAreForgotten() throws {
    let bench = Bench(patterns: 100)
    let count = 50
    for number in 0..<count {
      bench.keep(Self.answer(number, stamp: 10), key: "acme:test:thing:\(number)")
    }
    for sequence in UInt64(11)..<400 {
      // Each tenth concerns one copy.
      let number = sequence % 10 == 0 ? "\(sequence / 10)" : "none\(sequence)"
      bench.hear(sequence, .pattern(try CachePattern("acme:*:thing:\(number)")), at: 203)
    }
    #expect(bench.flushes == 1)
    for number in 0..<count {
      let isVoid = (2..<40).contains(number)
      #expect(bench.value(of: "acme:test:thing:\(number)") == (isVoid ? nil : number))
    }
    // What was asked for before they were forgotten was not compared with them.
    #expect(!bench.keep(Self.answer(1, stamp: 10), began: 204, at: 205))
    #expect(bench.keep(Self.answer(1, stamp: 400), began: 303, at: 304))
  }

  // MARK: Keeping

  @Test func nothingIsKeptThatWasInvalidatedWhileItWasOnItsWay() {
    let bench = Bench()
    let ticket = bench.begin(at: 200)
    bench.hear(11, .keys([Self.key]), at: 201)
    #expect(!bench.keep(Self.answer(1, stamp: 10), of: ticket, at: 202))
    #expect(bench.judge(Self.position(10)) == .overtaken)
    // Loaded since: that is good.
    #expect(bench.keep(Self.answer(2, stamp: 11), of: ticket, at: 202))
    bench.end(ticket)
    #expect(bench.value() == 2)
  }

  @Test func nothingIsKeptOfAnotherLifeNorOfTheStreamsFirstTime() {
    let bench = Bench()
    #expect(!bench.keep(Self.answer(1, stamp: 9, epoch: 8)))
    #expect(!bench.keep(Self.answer(1, stamp: 9), began: 99))
    #expect(bench.keep(Self.answer(1, stamp: 9), began: 100))
    bench.disconnect(at: 203)
    #expect(!bench.keep(Self.answer(1, stamp: 9)))
  }

  @Test func anOlderAnswerDoesNotReplaceANewerOne() {
    let bench = Bench()
    bench.keep(Self.answer(2, stamp: 10))
    #expect(!bench.keep(Self.answer(1, stamp: 9)))
    #expect(bench.value() == 2)
    #expect(bench.keep(Self.answer(3, stamp: 10)))
    #expect(bench.value() == 3)
  }

  @Test func copiesStayWithinTheirBytes() {
    let bench = Bench(bytes: 64 << 10)
    for number in 0..<2_000 {
      bench.keep(Self.answer(number, stamp: 10), key: "acme:test:thing:\(number)")
    }
    #expect(bench.bytes <= 64 << 10)
    #expect((20..<400).contains(bench.count))
  }

  // MARK: What this process invalidates

  @Test func whatThisProcessInvalidatesIsGoneAtOnce() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    let ticket = bench.begin(at: 202)
    bench.void([.keys([Self.key])], Self.position(11), at: 203)
    #expect(bench.value() == nil)
    #expect(!bench.keep(Self.answer(1, stamp: 10), of: ticket, at: 204))
    #expect(bench.keep(Self.answer(2, stamp: 11), of: ticket, at: 204))
    bench.end(ticket)
    // Through a server of another life: no answer that is under way can be trusted.
    let late = bench.begin(at: 205)
    bench.void([.keys([Self.key])], Self.position(1, epoch: 8), at: 206)
    #expect(bench.value() == nil)
    #expect(!bench.keep(Self.answer(2, stamp: 11), of: late, at: 207))
    bench.end(late)
  }

  @Test(arguments: [
    Invalidation.Scope.tags(["red"]), .pattern(try! CachePattern("acme:*:1")), .all,
  ]) func tagsAndPatternsOfThisProcessCountBeforeTheyAreTold(_ scope: Invalidation.Scope) {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9, tags: ["red"]))
    bench.keep(Self.answer(2, stamp: 9, tags: ["blue"]), key: Self.other)
    bench.void([scope], Self.position(12), at: 202)
    #expect(bench.value() == nil)
    // What it does not concern stays.
    #expect(bench.value(of: Self.other) == (scope == .all ? nil : 2))
    // Another server may not know of it yet.
    #expect(bench.judge(Self.position(10), tags: ["red"]) == .void)
    #expect(!bench.keep(Self.answer(1, stamp: 10, tags: ["red"])))
    #expect(bench.judge(Self.position(3, epoch: 8), tags: ["red"]) == .void)
    #expect(bench.judge(Self.position(12), tags: ["red"]) == .current)
    // After the limit all servers do.
    #expect(bench.judge(Self.position(10), tags: ["red"], asked: 300, at: 302) == .current)
    bench.void([scope], Self.position(3, epoch: 8), at: 304)
    #expect(bench.count == 0)
  }

  @Test func whatWasTakenOutAtNoKnownPlaceIsNotKeptByCallsOfBefore() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    bench.keep(Self.answer(2, stamp: 9), key: Self.other)
    let ticket = bench.begin(at: 202)
    bench.drop(at: 203)
    #expect(bench.value() == nil && bench.value(of: Self.other) == 2)
    #expect(!bench.keep(Self.answer(1, stamp: 10), of: ticket, at: 204))
    #expect(bench.keep(Self.answer(3, stamp: 10), began: 203, at: 204))
    bench.end(ticket)
  }

  @Test func whatTheStreamHasToldIsNotComparedAnyMore() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9, tags: ["red"]))
    // Were it so, the stream would have told it.
    bench.void([.tags(["red"])], Self.position(11), at: 202)
    bench.sync(at: 310)
    bench.void([.tags(["blue"])], Self.position(12), at: 310)
    #expect(bench.value(at: 311) == 1)
  }

  @Test func howManyPatternsACallNamesDoesNotMatter() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    let patterns = (0..<1_000).map { try! CachePattern("acme:test:thing:x\($0)*") }
    bench.void(patterns.map { .pattern($0) }, Self.position(12), at: 202)
    #expect(bench.value() == 1 && bench.judge(Self.position(9)) == .current)
    let more: [Invalidation.Scope] = [.tags(["red"]), .pattern(try! CachePattern("acme:*"))]
    bench.void(more, Self.position(13), at: 202)
    #expect(bench.value() == nil && bench.judge(Self.position(12)) == .void)
  }

  @Test func moreThanIsRememberedOfThisProcessCountsAsEverything() {
    let bench = Bench()
    bench.keep(Self.answer(1, stamp: 9))
    for number in UInt64(1)...257 {
      #expect(bench.value() == 1 && bench.judge(Self.position(9)) == .current)
      bench.void([.tags(["tag\(number)"])], Self.position(10 + number), at: 202)
    }
    #expect(bench.value() == nil && bench.judge(Self.position(9)) == .void)
    // Until the stream has told them.
    bench.sync(at: 302)
    #expect(bench.value(at: 302) == 1 && bench.judge(Self.position(9), asked: 252) == .current)
  }

  // MARK: What calls and loads bring

  @Test func anAnswerIsCurrentForHalfTheLimitAndThenByTheStream() {
    // The stream began at 0: it knows of what was asked for from 100 on.
    let bench = Bench()
    #expect(bench.judge(Self.position(9), asked: 100, at: 299) == .current)
    #expect(bench.judge(Self.position(9), asked: 99, at: 210) == .late)
    // Nor of another life, nor of what has no place in the order.
    #expect(bench.judge(Self.position(9, epoch: 8), asked: 161, at: 210) == .current)
    #expect(bench.judge(Self.position(9, epoch: 8), asked: 160, at: 210) == .late)
    #expect(bench.judge(nil, asked: 161, at: 210) == .current)
    #expect(bench.judge(nil, asked: 160, at: 210) == .late)
    // Nor when it is not in sync.
    #expect(bench.judge(Self.position(9), asked: 200, at: 300) == .late)
    #expect(bench.judge(Self.position(9), asked: 251, at: 300) == .current)
  }

  @Test func aBusyKeyIsKeptAgainInAnotherLife() {
    let bench = Bench()
    var ticket = bench.begin(at: 200)
    bench.hear(11, .keys([Self.key]), at: 201)
    bench.start(Self.position(0, epoch: 8), at: 300)
    // There is always a call about it under way.
    let next = bench.begin(at: 400)
    bench.end(ticket)
    ticket = next
    bench.sync(at: 401)
    #expect(bench.judge(Self.position(0, epoch: 8), asked: 400, at: 402) == .current)
    #expect(bench.keep(Self.answer(5, stamp: 0, epoch: 8), of: ticket, at: 402))
    #expect(bench.value(at: 403) == 5)
    bench.end(ticket)
  }

  @Test func keysAreToldApartByTheirBytes() {
    let bench = Bench()
    let (composed, decomposed) = ("acme:test:thing:\u{e9}", "acme:test:thing:e\u{301}")
    let ticket = bench.begin(composed, at: 200)
    bench.hear(11, .keys([decomposed]), at: 201)
    #expect(bench.keep(Self.answer(1, stamp: 10), of: ticket, at: 202))
    bench.end(ticket)
    #expect(bench.value(of: composed) == 1 && bench.value(of: decomposed) == nil)
  }

  @Test func aServersLowerLimitHoldsAndAHigherOneDelaysKeeping() {
    let bench = Bench()
    bench.start(Self.position(10), staleness: .milliseconds(40), at: 200)
    bench.sync(at: 400)
    bench.keep(Self.answer(1, stamp: 10), began: 400, at: 401)
    #expect(bench.value(at: 439) == 1)
    #expect(bench.value(at: 440) == nil)
    #expect(bench.judge(nil, asked: 400, at: 419) == .current)
    #expect(bench.judge(nil, asked: 400, at: 420) == .late)

    // Its servers may be behind by half of that.
    bench.start(Self.position(10), staleness: .seconds(1), at: 1_000)
    #expect(!bench.keep(Self.answer(1, stamp: 10), began: 1_549, at: 1_550))
    #expect(bench.keep(Self.answer(1, stamp: 10), began: 1_550, at: 1_551))
    bench.sync(at: 1_600)
    #expect(bench.value(at: 1_699) == 1)
    #expect(bench.value(at: 1_700) == nil)
  }

  @Test func theServersLimitIsTaken() {
    let near = NearCache(byteLimit: 1 << 20, stalenessLimit: .seconds(1), silenceLimit: .seconds(2))
    near.take(.init(event: .start(.init(epoch: 7, sequence: 1, staleness: .init(.seconds(60))))))
    #expect(near.limit == .seconds(1))
    near.take(.init(event: .start(.init(epoch: 7, sequence: 1, staleness: .init(.zero)))))
    #expect(near.limit == .seconds(1))
    let staleness = Duration.milliseconds(40)
    near.take(.init(event: .start(.init(epoch: 7, sequence: 1, staleness: .init(staleness)))))
    #expect(near.limit == staleness)
  }

  // MARK: Pings

  @Test func pingsAreSentWhileSomebodyLooks() {
    let bench = Bench(inSyncAt: 0)
    #expect(bench.tick(at: 1_000) == .idle)
    #expect(bench.wakes(at: 1_001) == true)
    #expect(bench.wakes(at: 1_002) == false)
    #expect(bench.tick(at: 1_003) == .ping(2, nearHits: 0))
    bench.pong(2)
    bench.keep(Self.answer(1, stamp: 10), began: 1_003, at: 1_004)
    for _ in 0..<3 { #expect(bench.value(at: 1_005) == 1) }
    #expect(bench.tick(at: 2_004) == .ping(3, nearHits: 3))
    bench.pong(3)
    #expect(bench.tick(at: 2_005) == .idle)
  }

  @Test func aStreamThatDoesNotAnswerIsGivenUp() {
    let bench = Bench()
    #expect(bench.tick(at: 300) == .ping(2, nearHits: 0))
    _ = bench.look(at: 2_299)
    #expect(bench.tick(at: 2_299) == .ping(3, nearHits: 0))
    #expect(bench.tick(at: 2_300) == .giveUp)
    bench.disconnect(at: 2_300)
    #expect(bench.tick(at: 2_301) == .ping(4, nearHits: 0))
  }

  @Test func aSilentStreamIsGivenUpHoweverManyPingsAreSent() {
    let bench = Bench(inSyncAt: 300)
    for number in UInt64(2)...257 {
      #expect(bench.tick(at: 300) == .ping(number, nearHits: 0))
    }
    #expect(bench.tick(at: 301) == .full)
    _ = bench.look(at: 2_299)
    #expect(bench.tick(at: 2_299) == .full)
    #expect(bench.tick(at: 2_300) == .giveUp)
  }

  // MARK: All of it

  /// 1,200 interleavings of a small fleet, each with some 120 steps and the messages they cause.
  @Test func noInterleavingGivesWhatWasInvalidatedLongAgo() async {
    var hits = 0
    var answers = 0
    var shared = 0
    var refusals: UInt64 = 0
    for seed in UInt64(0)..<1_200 {
      // Other tests wait for their turn on this thread.
      await Task.yield()
      var world = NearCacheWorld(seed: seed)
      world.run(steps: 120)
      for problem in world.problems.prefix(3) { Issue.record("seed \(seed): \(problem)") }
      if !world.problems.isEmpty { return }
      hits += world.hits
      answers += world.answers
      shared += world.shared
      refusals += world.refusals
    }
    // It has happened often enough to mean something.
    let counts = "\(hits) \(answers) \(shared) \(refusals)"
    #expect(hits > 4_000 && answers > 8_000 && shared > 1_000 && refusals > 1_000, "\(counts)")
  }
}
