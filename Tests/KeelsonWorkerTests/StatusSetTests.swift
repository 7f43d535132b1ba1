import KeelsonCore
import Testing

@testable import KeelsonWorker

@Suite struct StatusSetTests {
  @Test func statusesRangesAndListsAreRead() throws {
    let set = try #require(StatusSet(try JSONValue(parsing: #"[200, "3xx", "404-410", "429"]"#)))
    for status in [200, 300, 399, 404, 410, 429] { #expect(set.contains(status)) }
    for status in [199, 201, 299, 400, 403, 411, 428, 500] { #expect(!set.contains(status)) }
    #expect(set.description == "200, 3xx, 404-410, 429")
  }

  @Test(arguments: [
    "[]", "99", "600", "200.5", "\"\"", "\"6xx\"", "\"xx\"", "\"20x\"", "\"204-200\"",
    "\"200-\"", "\"2000\"", "\"+20\"", "true", "{}", "[[200]]", "\"200-600\"", "[200, null]",
  ])
  func whatIsNoneIsNone(_ json: String) throws {
    #expect(StatusSet(try JSONValue(parsing: json)) == nil)
  }
}
