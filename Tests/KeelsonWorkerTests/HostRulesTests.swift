import KeelsonCore
import KeelsonHTTP
import Testing

@testable import KeelsonWorker

@Suite struct HostRulesTests {
  private func allows(
    _ patterns: [String], _ host: String, _ address: String, port: Int = 443
  ) throws -> Bool {
    guard let allows = try HostRules(patterns).addresses(for: host, port: port) else {
      return false
    }
    return allows(try #require(IPAddress(address)))
  }

  @Test(arguments: [[], ["*"]])
  func byDefaultWhatIsPublicIsCalled(_ patterns: [String]) throws {
    #expect(try allows(patterns, "example.com", "93.184.216.34"))
    // A name that leads inside is no better than the address itself.
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "168.63.129.16"] {
      #expect(try !allows(patterns, "example.com", address))
      #expect(try HostRules(patterns).addresses(for: address, port: 80) == nil)
    }
  }

  @Test func aNamedHostMayBeInside() throws {
    #expect(try allows(["billing.internal"], "billing.internal", "10.0.0.1"))
    #expect(try allows(["Billing.Internal:443"], "billing.internal", "10.0.0.1"))
    #expect(try !allows(["billing.internal:8443"], "billing.internal", "10.0.0.1"))
    #expect(try !allows(["billing.internal"], "other.internal", "10.0.0.1"))
    #expect(try allows(["*.internal"], "a.b.internal", "127.0.0.1"))
    #expect(try !allows(["*.internal"], "internal", "10.0.0.1"))
    #expect(try !allows(["*.internal"], "notinternal", "10.0.0.1"))
    // The keys to the cloud stay where they are.
    #expect(try !allows(["billing.internal"], "billing.internal", "169.254.169.254"))
  }

  @Test func anAddressIsAllowedByItsRangeOnly() throws {
    #expect(try allows(["10.0.0.0/8"], "10.1.2.3", "10.1.2.3"))
    #expect(try allows(["10.0.0.0/8"], "any.name", "10.1.2.3"))
    #expect(try !allows(["10.0.0.0/8"], "any.name", "11.1.2.3"))
    #expect(try HostRules(["10.0.0.0/8"]).addresses(for: "11.1.2.3", port: 80) == nil)
    #expect(try allows(["169.254.169.254"], "169.254.169.254", "169.254.169.254"))
    #expect(try allows(["::1"], "::1", "::1"))
  }

  @Test(arguments: [
    "", "http://a", "a/b", "a:", "a:0", "a:65536", "a:b", "*.", "*a", "a b", "10.0.0.0/33",
    "10.0.0.1:80", ".a", "a.", "a@b",
  ])
  func whatIsNoHostIsRefused(_ pattern: String) {
    let error = #expect(throws: RPCError.self) { try HostRules([pattern]) }
    #expect(error?.code == .invalidArgument)
  }
}
