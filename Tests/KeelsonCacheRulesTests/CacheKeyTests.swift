import KeelsonCacheRules
import Testing

struct CacheKeyTests {
  @Test(arguments: [
    "acme:accounting:account:123", "acme:accounting:account:list:abc123", "a:b:c:d",
    "tenant-1:user_service:v1.2:\u{e9}\u{1F600}", "a:b:c::", "a:b:c:{x}/y=z",
  ])
  func good(key: String) {
    #expect(CacheKey.problem(key) == nil)
  }

  @Test(arguments: [
    ("", "is empty"), ("acme", "1 of the four parts"), ("acme:accounting", "2 of the four parts"),
    ("acme:accounting:account", "3 of the four parts"),
    ("acme:accounting:account:", "3 of the four"),
    (":a:b:c", "empty part"), ("a::b:c", "empty part"), ("a b:c:d:e", "a space in part 1"),
    ("a:b:c:d e", "a space in its id"), ("a:b:c:d*", "'*' in its id"),
    ("a:b:c:[d]", "'[' in its id"),
    ("a:b:c:\u{0}", "a control character (0x00) in its id"), ("a:b\n:c:d", "(0x0a) in part 2"),
    ("\u{e9}:b:c:d", "beyond ASCII in part 1"), ("a:b:c:\u{7f}", "(0x7f)"),
  ])
  func bad(key: String, why: String) throws {
    let problem = try #require(CacheKey.problem(key))
    #expect(problem.contains(why), "\(problem)")
  }

  @Test func sizes() {
    let part = String(repeating: "a", count: 64)
    #expect(CacheKey.problem("\(part):\(part):\(part):x") == nil)
    #expect(CacheKey.problem("a\(part):b:c:d")?.contains("more than 64 bytes") == true)
    let id = String(repeating: "x", count: 506)
    #expect(CacheKey.problem("a:b:c:\(id)") == nil)
    #expect(CacheKey.problem("a:b:c:x\(id)")?.contains("513 bytes; 512 are allowed") == true)
  }

  @Test func tags() {
    #expect(CacheKey.tagProblem("invoices of:acme".replacing(" ", with: "-")) == nil)
    #expect(CacheKey.tagProblem("")?.contains("0 bytes") == true)
    #expect(CacheKey.tagProblem("a b")?.contains("a space") == true)
    #expect(CacheKey.tagProblem(String(repeating: "t", count: 129))?.contains("129 bytes") == true)
  }
}
