import KeelsonCacheRules
import KeelsonCore
import Testing

@testable import KeelsonRedis

@Suite struct EntryBlobTests {
  private static func bytes(_ write: CacheWrite) -> [UInt8] {
    var bytes = EntryBlob.start(write, epoch: 0x0102_0304_0506_0708)
    EntryBlob.append(0xFFFF_FFFF_FFFF_FFFE, to: &bytes)
    #expect(bytes.count == EntryBlob.nonceOffset)
    EntryBlob.appendRest(write, freshUntil: 1_700_000_000_123, nonce: 42, to: &bytes)
    #expect(bytes.count == EntryBlob.nonceOffset + EntryBlob.restBytes(write))
    return bytes
  }

  @Test func givesBackWhatWasWritten() throws {
    let tags = ["a", String(repeating: "x", count: 128), "é"]
    for (value, isAbsent) in [([1, 2, 3], false), ([], false), ([], true)] as [([UInt8], Bool)] {
      let write = CacheWrite(
        key: "a:b:c:d", value: value, isAbsent: isAbsent, tags: tags,
        lifetime: CacheLifetime(ttl: .milliseconds(1_500)))
      let blob = try #require(EntryBlob(Self.bytes(write)))
      #expect(blob.epoch == 0x0102_0304_0506_0708 && blob.stamp == 0xFFFF_FFFF_FFFF_FFFE)
      #expect(blob.freshUntil == 1_700_000_000_123 && blob.ttl == .milliseconds(1_500))
      #expect(blob.tags == tags && Array(blob.value) == value && blob.isAbsent == isAbsent)
    }
  }

  /// A blob of a later version, or what somebody else has put there, is no entry; nor does it end the
  /// server.
  @Test func whatIsNoEntryIsNone() {
    let write = CacheWrite(
      key: "a:b:c:d", value: [1, 2, 3], tags: ["one", "two"],
      lifetime: CacheLifetime(ttl: .seconds(1)))
    var bytes = Self.bytes(write)
    for count in 0..<bytes.count - 3 { #expect(EntryBlob(Array(bytes.prefix(count))) == nil) }
    bytes[0] = 2
    #expect(EntryBlob(bytes) == nil)
    bytes[0] = 1
    bytes[EntryBlob.headerBytes] = 200
    #expect(EntryBlob(bytes) == nil)
    #expect(EntryBlob(Array("hello".utf8)) == nil)
    bytes = Self.bytes(write)
    for index in EntryBlob.timesOffset..<EntryBlob.timesOffset + 8 { bytes[index] = 0x7F }
    #expect(EntryBlob(bytes) == nil, "a time that nobody lives to see")
    bytes[EntryBlob.timesOffset] = 0x80
    #expect(EntryBlob(bytes) == nil)
  }

  /// The times are behind what says which writing it is.
  @Test func whatIsTouchedIsTheSameWriting() {
    let write = CacheWrite(
      key: "a:b:c:d", value: [1], lifetime: CacheLifetime(ttl: .seconds(1)))
    var (one, other) = (Self.bytes(write), Self.bytes(write))
    var times: [UInt8] = []
    EntryBlob.appendTimes(freshUntil: 1, ttl: .seconds(2), to: &times)
    other.replaceSubrange(EntryBlob.timesOffset..<EntryBlob.timesOffset + times.count, with: times)
    #expect(EntryBlob(other)?.ttl == .seconds(2) && EntryBlob(other)?.freshUntil == 1)
    #expect(one.prefix(EntryBlob.timesOffset) == other.prefix(EntryBlob.timesOffset))
    one[EntryBlob.timesOffset - 1] ^= 1
    #expect(EntryBlob(one)?.ttl == .seconds(1), "the number of the writing is before them")
  }

  @Test func aSweepRestsFourTimesAsLongAsItWorksAndEnds() {
    var pace = SweepPace()
    let rests = [Duration.microseconds(500), .seconds(1)].map {
      pace.rest(after: $0, isUrgent: false)
    }
    #expect(rests == [.milliseconds(2), SweepPace.longestRest])
    let none = pace.rest(after: .milliseconds(1), isUrgent: true)
    #expect(none == .zero && pace.worked == .microseconds(1_001_500))
    #expect(pace.rested == .milliseconds(2) + SweepPace.longestRest)
  }

  /// Beyond what one read may match nothing is said to be current.
  @Test func matchingHasAnEnd() throws {
    let bans = try (1...1_000).map {
      InvalidationView.Ban(sequence: $0, pattern: try CachePattern("other:\($0):*"))
    }
    var matching = BanMatching()
    let count = BanMatching.maximumMatches / 1_000
    let verdicts = (0...count).map { _ in matching.isVoid("acme:b:c:d", by: bans[...]) }
    #expect(verdicts == [Bool](repeating: false, count: count) + [true])
    let unbanned = matching.isVoid("acme:b:c:d", by: [])
    var another = BanMatching()
    let banned = another.isVoid("other:7:c:d", by: bans[...])
    #expect(banned && !unbanned)
  }

  /// Patterns that were made to take long: what they may take is bounded, not how many they are.
  @Test func matchingHasAnEndWhateverThePatterns() throws {
    let long = "acme:b:c:" + String(repeating: "a", count: 500)
    let bans = try (1...1_000).map {
      InvalidationView.Ban(
        sequence: $0,
        pattern: try CachePattern("acme:*\(String(repeating: "a", count: 240))\($0)*a"))
    }
    var steps = 0
    let isVoid = BanMatching.isVoid(long, by: bans[...], steps: &steps)
    #expect(isVoid && steps < 2 * BanMatching.stepsOfKey(1_000))
    let isShortVoid = BanMatching.isVoid("acme:b:c:a", by: bans[...], steps: &steps)
    #expect(!isShortVoid)
    var matching = BanMatching()
    let isVoidOfMany = matching.isVoid(long, by: bans[...])
    #expect(isVoidOfMany)
    let plan = SweepPlan(InvalidationView(epoch: 1, sequence: 1_000, bans: bans), swept: 0)
    // The newest that was not matched any more.
    let limit = try #require(plan.limit(of: long))
    #expect(limit < 1_000 && limit > 900 && plan.limit(of: "acme:b:c:a") == nil)
  }

  /// Against the plain definition.
  @Test func theNewestBanOfAKeyIsFound() throws {
    func text(_ letters: String, _ count: ClosedRange<Int>) -> String {
      String((0..<Int.random(in: count)).map { _ in letters.randomElement() ?? "a" })
    }
    for _ in 0..<200 {
      let patterns = try Set(
        (0..<Int.random(in: 0...30)).map { number in
          let tail = number % 4 == 0 ? "b*" : ""
          return try CachePattern(text("ab:é", 0...5) + "*" + tail)
        })
      let bans = patterns.enumerated().map {
        InvalidationView.Ban(sequence: UInt64($0 + 1), pattern: $1)
      }
      let plan = SweepPlan(InvalidationView(epoch: 1, sequence: 99, bans: bans), swept: 0)
      for _ in 0..<50 {
        let key = text("ab:éè", 1...8)
        let newest = bans.filter { $0.pattern.matches(key) }.map(\.sequence).max()
        #expect(plan.limit(of: key) == newest, "\(key): \(bans.map(\.pattern.text))")
      }
    }
  }

  @Test func messagesAreReadAndWritten() throws {
    let scopes: [Invalidation.Scope] = [
      .keys(["a:b:c:1", "a:b:c:2"]), .tags(["x", "y"]),
      // What joins with the space before it, or after it, to one character of a text.
      .tags(["\u{301}a", "b", "\u{301}c"]), .keys(["a:b:c:\u{600}", "a:b:c:d"]),
      .pattern(try CachePattern("a:*:?")), .all,
    ]
    for scope in scopes {
      let bytes = Array("18446744073709551615 9007199254740991 ".utf8)
      let message = try #require(InvalidationMessage(bytes + InvalidationMessage.body(scope)))
      #expect(message.epoch == .max && message.sequence == 9_007_199_254_740_991)
      guard case .invalidation(scope) = message.content else {
        Issue.record("\(message.content)")
        continue
      }
    }
    for text in ["", "1 2", "x 2 k a", "1 2 q", "1 2 p", "1 2 p a[b", "1 2 d x", "1 2 f"] {
      #expect(InvalidationMessage(Array(text.utf8)) == nil, "\(text)")
    }
    #expect(InvalidationMessage([0xFF, 0x20, 0x31]) == nil)
  }

  @Test func aSweepLooksWhereItHasTo() throws {
    func view(floor: UInt64, _ patterns: (String, UInt64)...) throws -> InvalidationView {
      InvalidationView(
        epoch: 1, sequence: 100, floor: floor,
        bans: try patterns.map { .init(sequence: $1, pattern: try CachePattern($0)) })
    }
    let one = SweepPlan(try view(floor: 5, ("acme:*:x:?", 7)), swept: 5)
    #expect(one.match == "acme:*" && one.limit(of: "acme:b:x:1") == 7)
    #expect(one.limit(of: "acme:b:y:1") == nil && !one.isEmpty && one.upTo == 100)
    let two = SweepPlan(try view(floor: 5, ("acmé:b:*", 7), ("acmè:*", 9)), swept: 5)
    #expect(two.match == "acm*")
    #expect(two.limit(of: "acmé:b:c:d") == 7 && two.limit(of: "acmè:b:c:d") == 9)
    let whole = SweepPlan(try view(floor: 5, ("acme:*", 7)), swept: 4)
    #expect(whole.match == "*" && whole.limit(of: "x") == 5 && whole.limit(of: "acme:x") == 7)
    #expect(SweepPlan(try view(floor: 5), swept: 5).isEmpty)
    #expect(!SweepPlan(try view(floor: 0), swept: nil).isEmpty)
    // Another server remembers fewer tags, and has raised the floor.
    let raised = SweepPlan(try view(floor: 5), floor: 9, swept: 5)
    #expect(!raised.isEmpty && raised.floor == 9 && raised.limit(of: "x") == 9)
    #expect(SweepPlan(try view(floor: 5), floor: 9, swept: 9).isEmpty)
  }
}
