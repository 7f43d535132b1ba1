import KeelsonCacheRules
import Testing

struct CacheTableTests {
  /// `#expect` takes no functions that mutate, and copies what it is given.
  private final class Table {
    private var table: CacheTable<Int>

    init(byteLimit: Int, now: CacheInstant) { table = CacheTable(byteLimit: byteLimit, now: now) }
    var count: Int { table.count }
    var bytes: Int { table.bytes }
    var evictions: UInt64 { table.evictions }
    func get(_ key: String, now: CacheInstant) -> Int? { table.get(key, now: now) }
    @discardableResult func set(
      _ key: String, _ value: Int, weight: Int, expires: CacheInstant, now: CacheInstant
    ) -> Bool { table.set(key, value, weight: weight, expires: expires, now: now) }
    func remove(_ key: String) -> Int? { table.remove(key) }
    func removeAll(now: CacheInstant) { table.removeAll(now: now) }
    func expire(at now: CacheInstant, budget: Int) { table.expire(at: now, budget: budget) }
  }

  private let start = CacheInstant(microseconds: 1_000_000)

  /// A text has one hash for all of its spellings; a key has a hash for each.
  @Test func spellingsOfAKeyDoNotCollide() {
    var hashes: Set<Int> = []
    for number in 0..<1_024 {
      let id = (0..<10).map { number >> $0 & 1 == 0 ? "\u{e9}" : "e\u{301}" }.joined()
      hashes.insert(BytewiseKey("a:b:c:" + id).hashValue)
    }
    #expect(hashes.count > 1_000)
  }

  @Test func whatFitsIsThereUntilItsEnd() {
    let table = Table(byteLimit: 1 << 20, now: start)
    let end = start + .seconds(10)
    for number in 0..<1_000 {
      table.set("acme:a:b:\(number)", number, weight: 0, expires: end, now: start)
    }
    for number in 0..<1_000 { #expect(table.get("acme:a:b:\(number)", now: start) == number) }
    table.set("acme:a:b:7", -7, weight: 0, expires: .distantFuture, now: start)
    #expect(table.get("acme:a:b:7", now: end) == -7)
    #expect(table.get("acme:a:b:8", now: end) == nil)
    #expect(table.remove("acme:a:b:7") == -7)
    #expect(table.remove("acme:a:b:7") == nil)
    table.expire(at: end + .seconds(1), budget: 10_000)
    #expect(table.count == 0)
    table.set("acme:a:b:1", 1, weight: 0, expires: .distantFuture, now: start)
    table.removeAll(now: start)
    #expect(table.get("acme:a:b:1", now: start) == nil)
    #expect(table.count == 0)
  }

  /// Never another value than the last that was set; never more bytes than it may have.
  @Test func agreesWithADictionary() {
    let limit = 60_000
    let table = Table(byteLimit: limit, now: start)
    var model: [String: (value: Int, expires: CacheInstant)] = [:]
    var now = start
    var hits = 0
    for step in 0..<20_000 {
      let key = "acme:books:account:\(Int.random(in: 0..<600))"
      switch Int.random(in: 0..<10) {
      case 0:
        let removed = table.remove(key)
        #expect(removed == nil || removed == model[key]?.value)
        model[key] = nil
      case 1...3:
        let expires = now + .milliseconds(.random(in: 1...2_000))
        table.set(key, step, weight: .random(in: 0...500), expires: expires, now: now)
        model[key] = (step, expires)
      case 4:
        now = now + .milliseconds(.random(in: 0...20))
      default:
        guard let value = table.get(key, now: now) else { continue }
        #expect(value == model[key]?.value)
        #expect(model[key].map { $0.expires > now } == true)
        hits += 1
      }
      #expect(table.bytes <= limit)
    }
    #expect(hits > 1_000)
    #expect(table.evictions > 100)
  }

  @Test func whatIsLargerThanTheTableIsNotKept() {
    let table = Table(byteLimit: 50_000, now: start)
    #expect(table.set("k", 1, weight: 10, expires: .distantFuture, now: start))
    #expect(!table.set("k", 2, weight: 100_000, expires: .distantFuture, now: start))
    #expect(table.get("k", now: start) == nil)
    #expect(table.count == 0)
  }

  /// One large entry is worth less than the many small ones it would push out, unless it is asked for
  /// more than all of them; and what was just stored can be read.
  @Test func aLargeEntryPushesOutNoHotSmallOnes() {
    let table = Table(byteLimit: 500_000, now: start)
    for round in 0..<6 {
      for number in 0..<300 {
        let key = "hot:\(number)"
        if round == 0 || table.get(key, now: start) == nil {
          table.set(key, number, weight: 1_000, expires: .distantFuture, now: start)
        }
      }
    }
    for number in 0..<200 {
      table.set("large:\(number)", number, weight: 60_000, expires: .distantFuture, now: start)
      #expect(table.get("large:\(number)", now: start) == number)
    }
    let kept = (0..<300).count { table.get("hot:\($0)", now: start) != nil }
    #expect(kept >= 290)
  }

  /// Equal text that is written otherwise is another key.
  @Test func keysAreBytes() {
    let table = Table(byteLimit: 50_000, now: start)
    table.set("a:b:c:\u{e9}", 1, weight: 0, expires: .distantFuture, now: start)
    #expect(table.get("a:b:c:e\u{301}", now: start) == nil)
    table.set("a:b:c:e\u{301}", 2, weight: 0, expires: .distantFuture, now: start)
    #expect(table.get("a:b:c:\u{e9}", now: start) == 1)
    #expect(table.count == 2)
  }
}
