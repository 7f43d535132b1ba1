import COpenSSL
import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

/// The stream alone, over a pipe that does what sockets do and worse.
@Suite(.timeLimit(.minutes(5)))
struct TLSStreamTests {
  let fixture: TLSFixture
  let loop: Loop

  init() throws {
    fixture = try TLSFixture()
    loop = Loop()
    loop.start()
  }

  private func serverContext(
    _ configuration: TLSServerConfiguration? = nil
  ) throws -> TLSServerContext {
    try TLSServerContext(
      configuration ?? fixture.server(), ticketKeys: TicketKeys(), now: .now)
  }

  private func clientContext(
    _ configuration: TLSClientConfiguration? = nil
  ) throws -> TLSClientContext {
    try TLSClientContext(configuration ?? fixture.client, target: Target("localhost:1"))
  }

  private static func limitToTLS12(_ client: TLSClientContext) {
    SSL_CTX_ctrl(client.tls.context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
  }

  private static func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  @Test(arguments: [1, 7, 1_000, 1 << 20])
  func bytesArriveHoweverTheyAreCut(bytesPerRead: Int) async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop) { server, client in
      server.bytesPerRead = bytesPerRead
      client.bytesPerRead = bytesPerRead
    }
    #expect(await pair.opened())
    let sent = Self.bytes(bytesPerRead == 1 ? 20_000 : 300_000)
    await pair.onLoop { server, client in
      client.send(sent)
      server.send(sent)
    }
    _ = await pair.server.wait { $0 == .received(sent.count) }
    _ = await pair.client.wait { $0 == .received(sent.count) }
    #expect(
      await pair.onLoop { server, client in server.received == sent && client.received == sent })
    await pair.close()
    await loop.stop()
  }

  @Test(arguments: [1, 100, 16_384, 17_000, 40_000])
  func readsOfAnySizeDrainAllThatIsThere(roomBytes: Int) async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop)
    #expect(await pair.opened())
    let sent = Self.bytes(100_000)
    await pair.onLoop { server, client in
      server.roomBytes = roomBytes
      client.send(sent)
    }
    _ = await pair.server.wait { $0 == .received(sent.count) }
    #expect(await pair.onLoop { server, _ in server.received == sent })
    await pair.close()
    await loop.stop()
  }

  @Test func whatThePipeDoesNotTakeIsHeldAndNothingMoreIsTaken() async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop) { server, _ in
      server.capacityBytes = 10_000
    }
    #expect(await pair.opened())
    let sent = Self.bytes(1_000_000)
    let (isHolding, written) = await pair.onLoop { server, client in
      server.reads = false
      client.send(sent)
      // One write's worth is encrypted; the next is not taken.
      let probe: [UInt8] = [1]
      let result = probe.withUnsafeBytes { client.stream?.write($0) }
      guard case .wouldBlock? = result else { return (false, 0) }
      return (client.stream?.isHoldingBytes ?? false, server.pipe?.writtenBytes ?? 0)
    }
    #expect(isHolding)
    #expect(written < 20_000)
    await pair.onLoop { server, _ in
      server.reads = true
      server.byteStreamIsReadable()
    }
    _ = await pair.client.wait { $0 == .wroteAll }
    _ = await pair.server.wait { $0 == .received(sent.count) }
    #expect(await pair.onLoop { server, _ in server.received == sent })
    await pair.close()
    await loop.stop()
  }

  @Test func theEndIsToldInOrder() async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop)
    #expect(await pair.opened())
    await pair.onLoop { _, client in
      client.send([1, 2, 3])
      client.stream?.close()
    }
    #expect(await pair.server.wait { $0 == .received(3) } != nil)
    #expect(await pair.server.next() == .ended)
    await pair.close()
    await loop.stop()
  }

  @Test func aStreamThatIsCutOffIsBroken() async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop)
    #expect(await pair.opened())
    await pair.onLoop { server, client in
      client.send(Self.bytes(100_000))
      server.pipe?.cut(10)
    }
    let end = await pair.server.wait { if case .broken = $0 { true } else { false } }
    #expect(
      end == .broken("The peer closed the connection without saying so in TLS (no close_notify)."))
    await pair.close()
    await loop.stop()
  }

  @Test func garbageBreaksTheStream() async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop)
    #expect(await pair.opened())
    await pair.onLoop { server, _ in
      server.pipe?.inject([23, 3, 3, 0, 32] + [UInt8](repeating: 7, count: 32))
    }
    let end = await pair.server.wait { if case .broken = $0 { true } else { false } }
    #expect(end != nil)
    await pair.close()
    await loop.stop()
  }

  @Test func garbageBreaksTheHandshake() async throws {
    let garbage: [[UInt8]] = [
      [22, 3, 1, 0, 4, 9, 9, 9, 9], [22, 3, 1, 255, 255] + [UInt8](repeating: 1, count: 600),
      [0, 1, 2, 3, 4, 5, 6, 7], Array("GET / HTTP/1.1\r\n\r\n".utf8),
    ]
    for bytes in garbage {
      let pair = try await TLSPair(serverContext(), clientContext(), loop: loop) { server, _ in
        server.inject(bytes)
      }
      let end = await pair.server.next()
      guard case .failed(let sentence)? = end else {
        Issue.record("\(bytes.prefix(8)): \(String(describing: end))")
        continue
      }
      #expect(sentence.hasSuffix("."))
      await pair.close()
    }
    await loop.stop()
  }

  @Test func aHandshakeThatStallsTimesOut() async throws {
    let pair = try await TLSPair(
      serverContext(), clientContext(), loop: loop, timeout: .milliseconds(20)
    ) { server, client in
      // Nothing of what the client says fits in.
      server.capacityBytes = 0
    }
    let end = await pair.server.next()
    #expect(end == .failed("The TLS handshake was not complete within 0.02 seconds."))
    await pair.close()
    await loop.stop()
  }

  @Test func newKeysAreFineNowAndThenButNoFlood() async throws {
    let pair = try await TLSPair(serverContext(), clientContext(), loop: loop)
    #expect(await pair.opened())
    await pair.onLoop { _, client in
      if let ssl = client.stream?.ssl { SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) }
      client.send([1])
    }
    #expect(await pair.server.wait { $0 == .received(1) } != nil)
    await pair.onLoop { _, client in
      for _ in 0..<100 {
        if let ssl = client.stream?.ssl { SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) }
        client.send([2])
      }
    }
    let end = await pair.server.wait { if case .broken = $0 { true } else { false } }
    #expect(
      end == .broken("The peer was cut off: it asked for new keys or handshakes too often."))
    await pair.close()
    await loop.stop()
  }

  // MARK: Resumption

  @Test(arguments: [false, true])
  func sessionsAreResumed(isTLS12: Bool) async throws {
    let (server, client) = try (serverContext(), clientContext())
    if isTLS12 { Self.limitToTLS12(client) }
    #expect(try await isResumed(server, client) == false)
    #expect(try await isResumed(server, client) == true)
    #expect(try await isResumed(server, client) == true)
    await loop.stop()
  }

  @Test(arguments: [false, true])
  func sessionsWithAnIdentityAreResumedWithIt(isTLS12: Bool) async throws {
    let server = try serverContext(fixture.server(.required))
    let client = try clientContext(fixture.client(names: ["spiffe://example.org/a"]))
    if isTLS12 { Self.limitToTLS12(client) }
    for round in 0..<2 {
      let resumed = try await isResumed(server, client) { server in
        #expect(server.stream?.identity?.name == "spiffe://example.org/a")
      }
      #expect(resumed == (round > 0))
    }
    await loop.stop()
  }

  @Test func sessionsOutliveTheCertificateButNotTheAuthority() async throws {
    let keys = TicketKeys()
    var configuration = try fixture.server(.optional)
    let client = try clientContext(fixture.client(names: ["a.example"]))
    var server = try TLSServerContext(configuration, ticketKeys: keys, now: .now)
    #expect(try await isResumed(server, client) == false)
    configuration = try fixture.server(.optional)
    server = try TLSServerContext(configuration, ticketKeys: keys, now: .now)
    #expect(try await isResumed(server, client) == true)
    let other = try CertificateAuthority.make(name: "Other", validity: TLSFixture.days(-1, 1))
    let both = other.certificate.pem + fixture.authority.certificate.pem
    try both.write(toFile: fixture.authorityFile, atomically: true, encoding: .utf8)
    server = try TLSServerContext(configuration, ticketKeys: keys, now: .now)
    #expect(try await isResumed(server, client) == false)
    await loop.stop()
  }

  /// Connects, says a byte each way so that tickets arrive, and closes.
  private func isResumed(
    _ server: TLSServerContext, _ client: TLSClientContext,
    _ look: @escaping @Sendable (TLSPair.End) -> Void = { _ in }
  ) async throws -> Bool {
    let pair = try await TLSPair(server, client, loop: loop)
    #expect(await pair.opened())
    await pair.onLoop { server, client in
      look(server)
      server.send([1])
    }
    #expect(await pair.client.wait { $0 == .received(1) } != nil)
    let result = await pair.onLoop { server, client in
      server.stream?.isResumed == true && client.stream?.isResumed == true
    }
    await pair.close()
    return result
  }
}
