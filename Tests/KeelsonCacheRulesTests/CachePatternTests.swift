import KeelsonCacheRules
import Testing

struct CachePatternTests {
  @Test(arguments: [
    ("a:b:*", "a:b:c:d", true), ("a:b:*", "a:b:", true), ("a:b:*", "a:bc:d:e", false),
    ("*:permissions", "t:user:4:permissions", true),
    ("*:permissions", "t:user:4:permission", false),
    ("a:*:c:?", "a:x:y:c:1", true), ("a:*:c:?", "a:x:c:12", false), ("a:b:c:d", "a:b:c:d", true),
    ("a:b:c:d", "a:b:c:de", false), ("*", "a:b:c:d", true), ("**a**b**", "xxaxxbxx", true),
    ("*ab*abc", "aababab:abc", true), ("?", "", false), ("*?", "a", true),
  ])
  func matches(pattern: String, key: String, isMatch: Bool) throws {
    #expect(try CachePattern(pattern).matches(key) == isMatch)
  }

  /// Against the plain definition, over short words of a small alphabet.
  @Test func agreesWithTheDefinition() throws {
    func matches(_ pattern: Substring, _ key: Substring) -> Bool {
      guard let first = pattern.first else { return key.isEmpty }
      if first == "*" {
        return matches(pattern.dropFirst(), key)
          || (!key.isEmpty && matches(pattern, key.dropFirst()))
      }
      guard let next = key.first, first == "?" || first == next else { return false }
      return matches(pattern.dropFirst(), key.dropFirst())
    }
    var random = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      let pattern = String(
        (0..<Int.random(in: 1...7)).map { _ in "ab:*?".randomElement(using: &random)! })
      let key = String(
        (0..<Int.random(in: 0...8)).map { _ in "ab:".randomElement(using: &random)! })
      let found = try CachePattern(pattern).matches(key)
      #expect(found == matches(pattern[...], key[...]), "\(pattern) and \(key)")
    }
  }

  @Test func whatNamesNothing() throws {
    for text in ["*", "**", "*:*", "?*", "*:*:*:*", ":"] {
      #expect(try CachePattern(text).matchesAnyKey)
    }
    #expect(try !CachePattern("a*").matchesAnyKey)
  }

  @Test(arguments: [("", "0 bytes"), ("a[bc]", "'['"), ("a\\*", "'\\'"), ("a b", "a space")])
  func bad(text: String, why: String) {
    #expect { try CachePattern(text) } throws: { "\($0)".contains(why) }
  }

  /// What is behind the last `*` has one place: whatever else is in the pattern, a key that ends otherwise
  /// takes no longer than that.
  @Test(arguments: ["*:permissions", "a:*" + String(repeating: "a", count: 240) + "b", "a:*?:*b"])
  func theEndIsLookedAtFirst(_ text: String) throws {
    var steps = 0
    let key = "a:" + String(repeating: "a", count: 500)
    #expect(try !CachePattern(text).matches(key, steps: &steps))
    #expect(steps <= CachePattern.stepsOfMatch + text.utf8.count)
  }

  /// What takes long says so.
  @Test func stepsAreCounted() throws {
    var steps = 0
    let pattern = try CachePattern("a:*" + String(repeating: "a", count: 240) + "b*a")
    #expect(!pattern.matches("a:" + String(repeating: "a", count: 500), steps: &steps))
    #expect(steps > 50_000)
  }

  @Test func aLongPatternIsQuick() throws {
    let pattern = try CachePattern(String(repeating: "*a", count: 200) + "b")
    #expect(!pattern.matches(String(repeating: "a", count: 512)))
  }
}
