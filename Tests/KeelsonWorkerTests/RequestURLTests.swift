import Testing

@testable import KeelsonWorker

@Suite struct RequestURLTests {
  @Test(arguments: [
    ("https://Example.com", "https://example.com/", "example.com", 443),
    ("HTTP://a:8080/b?c=%20d", "http://a:8080/b?c=%20d", "a", 8_080),
    ("http://a:80/", "http://a/", "a", 80),
    ("https://example.com.?q", "https://example.com/?q", "example.com", 443),
    ("http://[::1]:81/x", "http://[::1]:81/x", "::1", 81),
    ("http://[FD00::1]/", "http://[fd00::1]/", "fd00::1", 80),
    ("http://127.0.0.1/", "http://127.0.0.1/", "127.0.0.1", 80),
  ])
  func theyAreReadAndWrittenAnew(
    _ text: String, _ written: String, _ host: String, _ port: Int
  ) throws {
    let url = try RequestURL(text)
    #expect(url.text == written && url.host == host && url.port == port)
  }

  @Test(arguments: [
    "", "a", "//a", "ftp://a/", "file:///etc/passwd", "gopher://a/", "http://", "http:///x",
    "http://a@b/", "http://a:b@c/", "http://a:0/", "http://a:65536/", "http://a:/", "http://a:x/",
    "http://a/ b", "http://a/\n", "http://a/#f", "http://a\\@b/", "http://ä/", "http://a,b/",
    "http://[a]/", "http://[::1/", "http://[127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://%61/",
    "http://.:80/",
  ])
  func whatIsNoneIsRefused(_ text: String) {
    #expect(throws: RequestURL.Problem.self) { try RequestURL(text) }
  }

  @Test func whatMayBeSecretIsNotShown() throws {
    #expect(try RequestURL("http://a/b?token=x").shown == "http://a/b")
  }
}
