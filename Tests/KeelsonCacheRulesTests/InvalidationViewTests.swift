import KeelsonCacheRules
import Testing

struct InvalidationViewTests {
  @Test func sequencesFollowOneAnother() {
    var view = InvalidationView(epoch: 7, sequence: 3)
    let known = view.apply(.init(sequence: 3, scope: .all))
    let gap = view.apply(.init(sequence: 5, scope: .all))
    #expect(view.sequence == 3)
    let next = view.apply(.init(sequence: 4, scope: .keys(["a:b:c:d"])))
    #expect([known, gap, next] == [.known, .gap, .applied])
    #expect(view.isCurrent(stamp: 0, key: "a:b:c:d", tags: []))
  }

  @Test func whatIsOlderIsVoid() throws {
    var view = InvalidationView(epoch: 7)
    _ = view.apply(.init(sequence: 1, scope: .tags(["x", "y"])))
    _ = view.apply(.init(sequence: 2, scope: .pattern(try CachePattern("a:*"))))
    #expect(!view.isCurrent(stamp: 0, key: "b:c:d:e", tags: ["x"]))
    #expect(view.isCurrent(stamp: 0, key: "b:c:d:e", tags: ["z"]))
    #expect(view.isCurrent(stamp: 1, key: "b:c:d:e", tags: ["x"]))
    #expect(!view.isCurrent(stamp: 1, key: "a:c:d:e", tags: ["z"]))
    #expect(view.isCurrent(stamp: 2, key: "a:c:d:e", tags: ["x"]))
    _ = view.apply(.init(sequence: 3, scope: .all))
    #expect(!view.isCurrent(stamp: 2, key: "q:c:d:e", tags: []))
    #expect(view.isCurrent(stamp: 3, key: "q:c:d:e", tags: ["x"]))
  }

  @Test func aSweptBanIsForgotten() throws {
    var view = InvalidationView(epoch: 7)
    _ = view.apply(.init(sequence: 1, scope: .pattern(try CachePattern("a:*"))))
    _ = view.apply(.init(sequence: 2, scope: .pattern(try CachePattern("b:*"))))
    view.dropBans(upTo: 1)
    #expect(view.isCurrent(stamp: 0, key: "a:c:d:e", tags: []))
    #expect(!view.isCurrent(stamp: 0, key: "b:c:d:e", tags: []))
  }

  /// Only what came after an entry is matched, in whatever order it was read.
  @Test func newerBansAreMatched() throws {
    let bans = try [(9, "c:*"), (3, "a:*"), (5, "b:*")].map {
      InvalidationView.Ban(sequence: $0, pattern: try CachePattern($1))
    }
    let view = InvalidationView(epoch: 7, sequence: 9, tags: ["t": 8], bans: bans)
    #expect(view.bansToMatch(stamp: 2, tags: [])?.map(\.sequence) == [3, 5, 9])
    #expect(view.bansToMatch(stamp: 4, tags: ["u"])?.map(\.sequence) == [5, 9])
    #expect(view.bansToMatch(stamp: 8, tags: ["t"])?.map(\.sequence) == [9])
    #expect(view.bansToMatch(stamp: 9, tags: ["t"])?.isEmpty == true)
    #expect(view.bansToMatch(stamp: 7, tags: ["t"]) == nil)
    #expect(view.isCurrent(stamp: 4, key: "a:x", tags: []))
    #expect(!view.isCurrent(stamp: 4, key: "b:x", tags: []))
  }

  @Test func thePatternThatComesAgainIsOneBan() throws {
    var view = InvalidationView(epoch: 7)
    for sequence in 1...5_000 as ClosedRange<UInt64> {
      let pattern = try CachePattern(sequence % 2 == 0 ? "a:*" : "a:**")
      _ = view.apply(.init(sequence: sequence, scope: .pattern(pattern)))
    }
    #expect(view.bans.map(\.sequence) == [5_000])
    #expect(!view.isCurrent(stamp: 4_999, key: "a:c:d:e", tags: []))
    #expect(view.isCurrent(stamp: 5_000, key: "a:c:d:e", tags: []))
  }

  /// With room for few tags it calls more void than one that remembers all, never less.
  @Test func withLittleRoomNothingVoidIsCurrent() throws {
    var limits = InvalidationView.Limits()
    limits.tags = 10
    var small = InvalidationView(epoch: 7, limits: limits)
    var whole = InvalidationView(epoch: 7)
    var currentInBoth = 0
    for sequence in 1...2_000 as ClosedRange<UInt64> {
      let invalidation = Invalidation(
        sequence: sequence, scope: .tags(["tag\(Int.random(in: 0..<30))"]))
      _ = small.apply(invalidation)
      _ = whole.apply(invalidation)
      #expect(small.tags.count <= 10)
      let stamp = sequence - min(sequence, .random(in: 0...20))
      let tag = "tag\(Int.random(in: 0..<30))"
      let isCurrent = small.isCurrent(stamp: stamp, key: "a:b:c:d", tags: [tag])
      if isCurrent {
        currentInBoth += 1
        #expect(whole.isCurrent(stamp: stamp, key: "a:b:c:d", tags: [tag]))
      }
    }
    #expect(currentInBoth > 0)
  }
}
