import KeelsonCore
import KeelsonTransport
import Testing

@testable import KeelsonServer

@Suite struct ServerSettingsTests {
  private func settings(_ listen: String..., insecure: Bool = false) -> ServerSettings {
    var settings = ServerSettings()
    settings.listen = listen
    settings.allowsInsecureRemote = insecure
    return settings
  }

  @Test func loopbackAndUnixSocketsNeedNoLeave() throws {
    let addresses = try settings("127.0.0.1:0", "127.1.2.3:7400", "[::1]:0", "unix:/tmp/k.sock")
      .checkedListeners(nil)
    #expect(addresses.count == 4)
  }

  @Test(arguments: ["0.0.0.0:7400", "[::]:7400", "192.0.2.1:7400", "[2001:db8::1]:7400"])
  func whatOthersReachNeedsTheInsecureOption(address: String) throws {
    let error = #expect(throws: RPCError.self) {
      try settings("127.0.0.1:0", address).checkedListeners(nil)
    }
    #expect(error?.message.contains(address) == true)
    #expect(error?.message.contains("--insecure-remote-plaintext") == true)
    #expect(try settings(address, insecure: true).checkedListeners(nil).count == 1)
  }
}
