import Testing

@testable import KeelsonTransport

@Suite struct ConnectionCountsTests {
  private let configuration = {
    var configuration = ServerConfiguration(addresses: [])
    configuration.maximumConnections = 5
    configuration.maximumConnectionsPerAddress = 2
    configuration.maximumConnectionsPerLoopbackAddress = 3
    return configuration
  }()

  @Test(arguments: [
    ("ipv4:192.0.2.1:1", "ipv4:192.0.2.2:1"),
    ("ipv6:[2001:db8::1]:1", "ipv6:[2001:db8:0:1::1]:1"),
  ])
  func anAddressHasItsShare(one: String, other: String) {
    var counts = ConnectionCounts()
    #expect(counts.admit(one, configuration) == nil)
    #expect(counts.admit(one, configuration) == nil)
    #expect(counts.admit(one, configuration) == .tooManyFromAddress(2))
    #expect(counts.admit(other, configuration) == nil)
    counts.ended(one)
    #expect(counts.admit(one, configuration) == nil)
    #expect(counts.total == 3)
  }

  @Test func anIPv6NetworkIsOneAddress() {
    var counts = ConnectionCounts()
    #expect(counts.admit("ipv6:[2001:db8::1]:1", configuration) == nil)
    #expect(counts.admit("ipv6:[2001:db8::2]:1", configuration) == nil)
    #expect(counts.admit("ipv6:[2001:db8::3]:1", configuration) == .tooManyFromAddress(2))
  }

  @Test(arguments: ["ipv4:127.0.0.9:1", "ipv6:[::1]:1"])
  func loopbackHasAShareOfItsOwn(peer: String) {
    var counts = ConnectionCounts()
    for _ in 0..<3 { #expect(counts.admit(peer, configuration) == nil) }
    #expect(counts.admit(peer, configuration) == .tooManyFromAddress(3))
  }

  @Test func unixSocketsCountTogetherOnly() {
    var counts = ConnectionCounts()
    for _ in 0..<5 { #expect(counts.admit("unix:/run/k.sock", configuration) == nil) }
    #expect(counts.admit("unix:/run/k.sock", configuration) == .tooMany(5))
    counts.ended("unix:/run/k.sock")
    #expect(counts.admit("ipv4:192.0.2.1:1", configuration) == nil)
  }
}
