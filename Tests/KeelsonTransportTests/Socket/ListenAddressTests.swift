import Testing

@testable import KeelsonTransport

struct ListenAddressTests {
  @Test(arguments: [
    ("127.0.0.1:7400", "127.0.0.1:7400"), ("[::1]:0", "[::1]:0"),
    ("localhost:80", "127.0.0.1:80"), ("unix:/run/k.sock", "unix:/run/k.sock"),
    ("unix:///run/k.sock", "unix:/run/k.sock"), ("unix:////run/k.sock", "unix:/run/k.sock"),
  ])
  func readsWhatAPersonWrites(text: String, read: String) throws {
    let address = try ListenAddress(parsing: text)
    #expect(address.description == read)
    #expect(try ListenAddress(parsing: address.description) == address)
  }

  @Test(arguments: [
    ("127.0.0.1", "port is missing"), ("127.0.0.1:", "no port"), ("127.0.0.1:70000", "no port"),
    ("127.0.0.1:-1", "no port"), ("::1:80", "brackets"), ("[127.0.0.1]:80", "brackets"),
    ("unix://run/k.sock", "absolute"), ("127.0.0.1\0.example.org:80", "no IP address"),
    ("[::1%a\nb]:80", "no IP address"), (":80", "host is missing"),
    ("example.org:80", "no IP address"), ("unix:", "path is missing"),
    ("unix:/" + String(repeating: "a", count: 107), "at most 107"),
  ])
  func saysWhatIsWrong(text: String, part: String) {
    let error = #expect(throws: SocketError.self) { try ListenAddress(parsing: text) }
    #expect(error?.code == .invalidAddress)
    #expect(error?.message.contains(part) == true)
  }
}
