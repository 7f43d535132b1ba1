import KeelsonCore
import KeelsonTransport
import Testing

struct TargetTests {
  @Test(arguments: [
    ("127.0.0.1:7401", Target.Endpoint.numeric(host: "127.0.0.1", port: 7401), "127.0.0.1:7401"),
    ("127.0.0.1", .numeric(host: "127.0.0.1", port: 7400), "127.0.0.1:7400"),
    ("[::1]:7401", .numeric(host: "::1", port: 7401), "[::1]:7401"),
    ("[fe80::1]", .numeric(host: "fe80::1", port: 7400), "[fe80::1]:7400"),
    ("localhost:80", .name(host: "localhost", port: 80), "localhost:80"),
    ("flags.example.com", .name(host: "flags.example.com", port: 7400), "flags.example.com:7400"),
    ("dns:///a.b:1", .name(host: "a.b", port: 1), "a.b:1"),
    ("dns:a.b:65535", .name(host: "a.b", port: 65535), "a.b:65535"),
    ("dns:///[::1]:9", .numeric(host: "::1", port: 9), "[::1]:9"),
    ("unix:relative/path", .unix(path: "relative/path"), "localhost"),
    ("unix:/abs/path", .unix(path: "/abs/path"), "localhost"),
    ("unix:///abs/path", .unix(path: "/abs/path"), "localhost"),
  ])
  func reads(text: String, endpoint: Target.Endpoint, authority: String) throws {
    let target = try Target(text)
    #expect(target.endpoints == [endpoint])
    #expect(target.authority == authority)
    #expect(target.description == text)
  }

  @Test func readsListsOfAddresses() throws {
    let target = try Target("ipv4:10.0.0.1:1,10.0.0.2")
    #expect(
      target.endpoints == [
        .numeric(host: "10.0.0.1", port: 1), .numeric(host: "10.0.0.2", port: 7400),
      ])
    #expect(target.authority == "10.0.0.1:1")
    #expect(
      try Target("ipv6:[::1]:5,[::2]:6").endpoints == [
        .numeric(host: "::1", port: 5), .numeric(host: "::2", port: 6),
      ])
  }

  @Test func readsListsOfHosts() throws {
    let target = try Target("a:1,10.0.0.1,[::1]:2")
    #expect(
      target.endpoints == [
        .name(host: "a", port: 1), .numeric(host: "10.0.0.1", port: 7400),
        .numeric(host: "::1", port: 2),
      ])
    #expect(target.authority == "a:1")
    #expect(try Target("dns:///a,b:2").endpoints.count == 2)
  }

  @Test(arguments: [
    ("a,", "host is missing"), (",a", "host is missing"), ("a:1,b:0", "port"),
    ("", "empty"), ("http://a:1", "http://"), ("a:0", "port"), ("a:65536", "port"),
    ("a:+1", "port"), ("a:", "port"), (":1", "host"), ("::1", "[::1]:7400"), ("[::1", "bracket"),
    ("[::1]7", ":port"), ("[::1%a b]:1", "IPv6"), ("[::1%\0]:1", "IPv6"), ("[a]:1", "IPv6"),
    ("a b:1", "host name"), ("unix:", "path"),
    ("unix://rel", "absolute"), ("unix:" + String(repeating: "x", count: 108), "107"),
    ("dns://8.8.8.8/a:1", "dns:///"), ("dns://a:1", "dns:///"), ("ipv4:a:1", "numbers"),
    ("ipv4:", "host"), ("a/b:1", "host name"),
  ])
  func refuses(text: String, hint: String) {
    let error = #expect(throws: RPCError.self) { try Target(text) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains(hint) == true, "\(error?.message ?? "")")
  }
}
