import KeelsonCore
import Testing

@testable import KeelsonHTTP

/// Source: RFC 9110 section 10.2.3.
@Suite struct RetryAfterTests {
  private func wait(_ text: String?) throws -> Duration? {
    let now = try #require(UnixTime(exactly: "2026-11-26T10:00:00.000000Z"))
    return HTTPResponse(
      status: 503, headers: text.map { ["retry-after": $0] } ?? [:], body: SecretValue("")
    ).retryAfter(now: now)
  }

  @Test func secondsAndTimesAreRead() throws {
    #expect(try wait("120") == .seconds(120))
    #expect(try wait("0") == .zero)
    #expect(try wait("Thu, 26 Nov 2026 10:00:30 GMT") == .seconds(30))
    #expect(try wait("Thu, 26 Nov 2026 09:00:00 GMT") == .zero)
    #expect(try wait("99999999999") == .seconds(86_400))
    #expect(try wait("Fri, 26 Nov 2027 10:00:00 GMT") == .seconds(86_400))
  }

  @Test(arguments: [
    nil, "", "-1", "soon", "1.5", "Thu, 26 Nov 2026 10:00:30", "Thursday, 26-Nov-26 10:00:30 GMT",
    "Thu, 31 Nov 2026 10:00:30 GMT", "Thu, 26 nov 2026 10:00:30 GMT",
  ])
  func whatSaysNothingIsNothing(_ text: String?) throws {
    #expect(try wait(text) == nil)
  }
}
