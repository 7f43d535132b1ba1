import KeelsonCacheRules
import Testing

struct OutageLogTests {
  @Test func remembersWhatWasSaid() throws {
    var log = OutageLog(limit: 10)
    #expect(log.isEmpty)
    log.note(.keys(["a:b:c:1", "a:b:c:2"]))
    log.note(.keys(["a:b:c:2"]))
    log.note(.tags(["t"]))
    log.note(.pattern(try CachePattern("a:*")))
    #expect(log.concerns("a:b:c:1"))
    #expect(!log.concerns("a:b:c:3"))
    let scopes = log.scopes(batch: 1)
    #expect(scopes.count == 4)
    #expect(
      Set(scopes) == [
        .keys(["a:b:c:1"]), .keys(["a:b:c:2"]), .tags(["t"]), .pattern(try CachePattern("a:*")),
      ])
  }

  /// Keys are bytes: two that read alike are two.
  @Test func twoSpellingsAreTwoKeys() {
    let (composed, decomposed) = ("a:b:c:\u{e9}", "a:b:c:e\u{301}")
    var log = OutageLog(limit: 10)
    log.note(.keys([composed]))
    #expect(!log.concerns(decomposed))
    log.note(.keys([decomposed]))
    #expect(log.count == 2)
    let spellings = log.scopes(batch: 1).map { scope -> [[UInt8]] in
      guard case .keys(let keys) = scope else { return [] }
      return keys.map { Array($0.utf8) }
    }
    #expect(Set(spellings) == [[Array(composed.utf8)], [Array(decomposed.utf8)]])
    var copy = OutageLog(limit: 10)
    copy.add(log)
    #expect(copy.count == 2)
  }

  @Test func beyondItsLimitItIsEverything() {
    var log = OutageLog(limit: 3)
    log.note(.keys(["a:b:c:1", "a:b:c:2", "a:b:c:3"]))
    #expect(!log.concerns("a:b:c:4"))
    log.note(.tags(["t"]))
    #expect(log.concerns("a:b:c:4"))
    #expect(log.scopes(batch: 100) == [.all])
    log.note(.keys(["a:b:c:1"]))
    #expect(log.scopes(batch: 100) == [.all])
  }

  @Test func takesInAnother() throws {
    var log = OutageLog(limit: 10)
    log.note(.keys(["a:b:c:1"]))
    var other = OutageLog(limit: 10)
    other.note(.keys(["a:b:c:2"]))
    other.note(.pattern(try CachePattern("b:*")))
    log.add(other)
    #expect(log.keys == [BytewiseKey("a:b:c:1"), BytewiseKey("a:b:c:2")])
    #expect(log.patterns.count == 1)
    var all = OutageLog(limit: 10)
    all.note(.all)
    log.add(all)
    #expect(log.isAll)
  }
}
