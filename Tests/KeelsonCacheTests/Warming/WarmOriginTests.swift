import Testing

@testable import KeelsonCache

@Suite struct WarmOriginTests {
  @Test(arguments: [
    ("https://example.org", "https://example.org:443"),
    ("https://Example.ORG/", "https://example.org:443"),
    ("http://10.0.0.1:8080", "http://10.0.0.1:8080"), ("HTTP://[fd00::1]", "http://[fd00::1]:80"),
  ])
  func originsAreRead(text: String, origin: String) throws {
    #expect(try WarmOrigin(text).description == origin)
    #expect(
      try WarmOrigin(ofURL: text + (text.hasSuffix("/") ? "a?b=c" : "/a?b=c")) == WarmOrigin(text))
  }

  @Test(arguments: [
    "", "example.org", "ftp://example.org", "https://", "https:///a", "https://a@example.org",
    "https://example.org@evil.org/", "https://example.org\\@evil.org", "https://example.org:",
    "https://example.org:0", "https://example.org:65536", "https://example.org:4a", "https://[::1",
    "https://[::1]x", "https://exa mple.org", "https://exämple.org", "https://example.org/#a",
    "https://a:b:c/", "https://example.org/\u{0}",
  ])
  func whatIsNoneIsRefused(text: String) {
    #expect(throws: WarmOriginProblem.self) { try WarmOrigin(ofURL: text) }
    #expect(throws: WarmOriginProblem.self) { try WarmOrigin(text) }
  }

  @Test func anOriginEndsBehindItsPort() {
    #expect(throws: WarmOriginProblem.self) { try WarmOrigin("https://example.org/a") }
    #expect(throws: WarmOriginProblem.self) {
      try WarmOrigin(ofURL: "https://example.org/" + String(repeating: "a", count: 2_048))
    }
  }

  @Test func schemeHostAndPortAllCount() throws {
    let allowed: Set = [try WarmOrigin("https://example.org")]
    for url in [
      "http://example.org/", "https://example.org:8443/", "https://example.org.evil.org/",
      "https://evil.org/https://example.org",
    ] {
      #expect(!allowed.contains(try WarmOrigin(ofURL: url)), "\(url)")
    }
    #expect(allowed.contains(try WarmOrigin(ofURL: "https://EXAMPLE.org:443?q")))
  }
}
