import Testing

@testable import KeelsonHTTP

@Suite struct IPAddressTests {
  @Test(arguments: [
    ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[fd00::1]", "fd00::1"),
    ("::ffff:10.1.2.3", "10.1.2.3"), ("[::ffff:a01:203]", "10.1.2.3"),
  ])
  func addressesAreRead(_ text: String, _ shown: String) {
    #expect(IPAddress(text)?.description == shown)
  }

  @Test(arguments: ["", "1.2.3", "256.1.1.1", "[127.0.0.1]", "0x7f.1", "2130706433", "a", "::g"])
  func whatIsNoneIsNone(_ text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test(arguments: ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:2800:220:1::1"])
  func addressesOfTheInternetArePublic(_ text: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.isPublic && !address.isSensitive)
  }

  @Test(arguments: [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.2.1", "192.168.1.1", "198.19.255.255", "224.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1", "fe80::1",
    "ff02::1", "2001:db8::1", "2002:7f00:1::", "2001:0:1::1", "::127.0.0.1",
  ])
  func allOthersAreNot(_ text: String) throws {
    #expect(try #require(IPAddress(text)).isPublic == false)
  }

  @Test(arguments: [
    "169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16", "100.100.100.200",
    "::ffff:169.254.169.254", "fd00:ec2::23", "fd20:ce::254", "64:ff9b::a9fe:a9fe",
  ])
  func whereCloudsKeepCredentialsIsSensitive(_ text: String) throws {
    #expect(try #require(IPAddress(text)).isSensitive)
  }

  @Test func networksContainTheirAddresses() throws {
    let contains: (String, String) throws -> Bool = {
      try #require(IPNetwork($0)).contains(try #require(IPAddress($1)))
    }
    #expect(try contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"))
    #expect(try contains("10.1.2.0/23", "10.1.3.255") && !contains("10.1.2.0/23", "10.1.4.0"))
    #expect(try contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"))
    #expect(try contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"))
    #expect(try contains("127.0.0.1", "127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"))
    for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "/8", "a/8", "::/129"] {
      #expect(IPNetwork(text) == nil)
    }
  }
}
