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
    #expect(log.keys == ["a:b:c:1", "a:b:c:2"])
    #expect(log.patterns.count == 1)
    var all = OutageLog(limit: 10)
    all.note(.all)
    log.add(all)
    #expect(log.isAll)
  }
}
