import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

/// Our own channel against our own server, over TLS.
@Suite(.timeLimit(.minutes(5)))
struct TLSChannelTests {
  let fixture: TLSFixture

  init() throws {
    fixture = try TLSFixture()
  }

  private func with(
    _ server: TLSServerConfiguration, _ client: TLSClientConfiguration, host: String = "127.0.0.1",
    now: UnixTime = .now, _ body: (SecureServer, SecureChannel) async throws -> Void
  ) async throws {
    let server = try await SecureServer(server, now: now)
    let channel = try SecureChannel("\(host):\(server.port)", client)
    do {
      try await body(server, channel)
    } catch {
      await channel.stop()
      await server.stop()
      throw error
    }
    await channel.stop()
    await server.stop()
  }

  @Test func behavesAsEveryChannelDoes() async throws {
    try await with(fixture.server(), fixture.client) { server, client in
      try await EchoConformance(channel: client.channel, service: server.service).runAll()
    }
  }

  @Test func aClientCertificateIsTheCallersIdentity() async throws {
    let client = try fixture.client(names: ["checkout.example", "spiffe://example.org/checkout"])
    try await with(fixture.server(.required), client) { _, client in
      try await client.expectToBe("spiffe://example.org/checkout")
    }
    try await with(fixture.server(.optional), client) { _, client in
      try await client.expectToBe("spiffe://example.org/checkout")
    }
    // A server that does not ask is not told.
    try await with(fixture.server(.none), client) { _, client in
      try await client.expectToBe("")
    }
  }

  @Test func withoutACertificateThereIsNoIdentity() async throws {
    try await with(fixture.server(.optional), fixture.client) { _, client in
      try await client.expectToBe("")
    }
  }

  @Test func aServerMayRequireACertificate() async throws {
    try await with(fixture.server(.required), fixture.client) { server, client in
      let failure = await client.failure()
      #expect(failure?.code == .unavailable)
      #expect(
        failure?.message.contains("the server requires a client certificate, and none was given")
          == true, "\(failure?.message ?? "")")
      await server.log.wait(for: "the client shows no certificate")
    }
  }

  @Test func aCertificateOfAnUnknownIssuerIsRefused() async throws {
    let other = try CertificateAuthority.make(name: "Other CA", validity: TLSFixture.days(-1, 1))
    let client = try fixture.client(names: ["mallory"], by: other)
    for mode in [TLSServerConfiguration.ClientAuthentication.optional, .required] {
      try await with(fixture.server(mode), client) { server, client in
        let failure = await client.failure()
        #expect(failure?.code == .unavailable)
        #expect(
          failure?.message.contains("does not know who issued our client certificate") == true,
          "\(failure?.message ?? "")")
        await server.log.wait(for: "its issuer (CN=Other CA) is not known or not trusted")
      }
    }
  }

  @Test func aCertificateForAnotherHostIsRefusedWithItsNames() async throws {
    let server = try fixture.server(names: ["keelson.example", "10.1.2.3"])
    try await with(server, fixture.client) { _, client in
      let message = await client.failure()?.message ?? ""
      #expect(message.contains("it is not for 127.0.0.1 but for keelson.example, 10.1.2.3"))
      #expect(!message.contains("is the server running"))
    }
    try await with(server, fixture.client, host: "localhost") { _, client in
      let message = await client.failure()?.message ?? ""
      #expect(message.contains("it is not for localhost but for keelson.example, 10.1.2.3"))
    }
    var named = fixture.client
    named.serverName = "keelson.example"
    try await with(server, named) { _, client in try await client.expectToBe("") }
  }

  @Test func eachOfSeveralServersIsItself() throws {
    func expected(_ target: String, at host: String) throws -> [String] {
      let context = try TLSClientContext(fixture.client, target: Target(target))
      return context.expected(at: SocketAddress(numericHost: host, port: 1))
    }
    #expect(try expected("10.0.0.1:1,10.0.0.2:1", at: "10.0.0.2") == ["10.0.0.2"])
    #expect(try expected("[::1]:1,10.0.0.2:1", at: "::1") == ["::1"])
    #expect(try expected("a.example:1,b.example:1", at: "10.0.0.2") == ["a.example", "b.example"])
    #expect(try expected("a.example:1,10.0.0.2:1", at: "10.0.0.2") == ["10.0.0.2"])
    #expect(try expected("a.example:1,10.0.0.2:1", at: "10.0.0.3") == ["a.example"])
    var named = fixture.client
    named.serverName = "c.example"
    let context = try TLSClientContext(named, target: Target("a.example,b.example"))
    #expect(context.expected(at: nil) == ["c.example"])
  }

  @Test func aServerMayBeAnyOfTheNames() async throws {
    let server = try await SecureServer(fixture.server(names: ["localhost"]))
    // The first name has no address.
    let target = "nowhere.invalid:\(server.port),localhost:\(server.port)"
    let client = try SecureChannel(target, fixture.client)
    try await client.expectToBe("")
    await client.stop()
    await server.stop()
  }

  @Test func aCommonNameIsNoHostName() async throws {
    let server = try fixture.server(commonName: "localhost", names: [])
    try await with(server, fixture.client, host: "localhost") { _, client in
      let message = await client.failure()?.message ?? ""
      #expect(message.contains("it is not for localhost but for no host"), "\(message)")
    }
  }

  @Test func aHalfOpenHandshakeKeepsNobodyFromDraining() async throws {
    let server = try await SecureServer(fixture.server())
    // A client that connects and says nothing.
    let silent = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(silent) }
    let address = try #require(SocketAddress(numericHost: "127.0.0.1", port: server.port))
    #expect(address.withSockaddr { connect(silent, $0, $1) } == 0)
    // A call that is served shows that the connection ahead of it was accepted.
    let client = try SecureChannel("127.0.0.1:\(server.port)", fixture.client)
    try await client.expectToBe("")
    await client.stop()
    // A drain that waited for it would not end within the suite's time.
    await server.server.drain(grace: .seconds(3_600))
  }

  @Test func aCertificateThatHasExpiredIsRefused() async throws {
    let server = try fixture.server(validity: TLSFixture.days(-10, -2))
    let then = TLSFixture.days(-5, 0).lowerBound
    try await with(server, fixture.client, now: then) { server, client in
      let message = await client.failure()?.message ?? ""
      let day = TLSFixture.days(-2, 0).lowerBound.toTheSecond.prefix(10)
      #expect(message.contains("it expired on \(day)"), "\(message)")
      await server.log.wait(for: "has expired")
    }
  }

  @Test func aCertificateOfAnUnknownAuthorityIsRefusedUnlessThatIsAskedFor() async throws {
    let other = try CertificateAuthority.make(name: "Other CA", validity: TLSFixture.days(-1, 1))
    var client = TLSClientConfiguration(
      trustRoots: .certificates(.pem(other.certificate.pem)))
    try await with(fixture.server(), client) { _, client in
      let failure = await client.failure()
      #expect(failure?.code == .unavailable)
      #expect(
        failure?.message.contains("its issuer (CN=Test CA) is not known or not trusted") == true)
    }
    client.trustRoots = .system
    try await with(fixture.server(), client) { _, client in
      #expect(await client.failure()?.message.contains("is not known or not trusted") == true)
    }
    client.insecureSkipsVerification = true
    try await with(fixture.server(), client) { _, client in try await client.expectToBe("") }
  }

  @Test func theSchemeIsHTTPS() async throws {
    // nghttp2 would refuse an unknown scheme; what goes out is seen by a stream's own fields.
    let target = try Target("127.0.0.1:1")
    let context = try TLSClientContext(fixture.client, target: target)
    let loops = LoopGroup(count: 1)
    let secure = try HTTP2Channel(target: target, tls: context, loops: loops)
    #expect(secure.core.tls != nil)
    let unix = try HTTP2Channel(target: try Target("unix:/run/x"), tls: context, loops: loops)
    #expect(unix.core.tls == nil)
    await secure.shutdown()
    await unix.shutdown()
    await loops.stop()
  }

  @Test func anotherListenerServesOneServiceOnly() async throws {
    let probe = try ListenerConfiguration(
      ListenAddress(parsing: "127.0.0.1:0"), services: .only("keelson.test.v1.Probe"))
    let server = try await SecureServer(fixture.server(), further: [probe])
    let client = try ChannelUnderTest(server.addresses[1].description)
    do {
      _ = try await client.channel.unary(EchoService.echo, [1], options: CallOptions())
      Issue.record("served")
    } catch let error as RPCError {
      #expect(error.code == .unimplemented)
      #expect(error.message.contains("serves keelson.test.v1.Probe only"))
    }
    await client.stop()
    await server.stop()
  }

  @Test func aPlainClientOnTheTLSPortIsTold() async throws {
    let server = try await SecureServer(fixture.server())
    let client = try ChannelUnderTest("127.0.0.1:\(server.port)")
    do {
      _ = try await client.channel.unary(EchoService.echo, [1], options: CallOptions())
      Issue.record("served")
    } catch let error as RPCError {
      #expect(error.code == .unavailable)
      #expect(error.message.contains("400 Bad Request"), "\(error.message)")
    }
    await server.log.wait(for: "A client spoke HTTP/2 without TLS on a TLS port")
    await client.stop()
    await server.stop()
  }

  @Test func aTLSClientOnAPlainPortIsTold() async throws {
    let server = try await EchoServer.start()
    let client = try SecureChannel(server.address.description, fixture.client)
    let message = await client.failure()?.message ?? ""
    #expect(message.contains("TLS handshake"), "\(message)")
    await client.stop()
    await server.stop()
  }
}
