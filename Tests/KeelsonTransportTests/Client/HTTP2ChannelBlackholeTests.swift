import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

/// Servers that go silent without a word: found out by keepalive, and left.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelBlackholeTests {
  private static let interval = Duration.milliseconds(300)
  private static let timeout = Duration.milliseconds(300)
  /// For a machine that has much else to do. Without keepalive the calls would take 30 seconds.
  private static let slack = Duration.seconds(60)

  private static let idempotentEcho = EchoService.method("Echo", .unary, isIdempotent: true)

  /// Two servers, the first behind a relay that can swallow all.
  private func withRelay(
    _ body: (ChannelUnderTest, Relay, EchoServer) async throws -> Void,
    configured change: (inout ChannelConfiguration) -> Void = { _ in }
  ) async throws {
    var limits = HTTP2Limits.server
    limits.minimumPingInterval = .zero
    let first = try await EchoServer.start(limits: limits)
    let second = try await EchoServer.start(limits: limits)
    guard case .ipv4(_, let port) = first.address.address.kind else { return }
    let relay = try Relay(to: port)
    let client = try ChannelUnderTest("ipv4:\(relay.address),\(second.address.description)") {
      $0.keepaliveInterval = Self.interval
      $0.keepaliveTimeout = Self.timeout
      $0.serviceConfig = .retryingIdempotentMethods
      change(&$0)
    }
    do {
      try await body(client, relay, first)
    } catch {
      Issue.record(error)
    }
    await client.stop()
    relay.close()
    await first.stop(grace: .zero)
    await second.stop(grace: .zero)
  }

  @Test(arguments: [LoadBalancingPolicy.pickFirst, .roundRobin])
  func callsFailOverWithinTheKeepaliveTime(policy: LoadBalancingPolicy) async throws {
    try await withRelay { client, relay, _ in
      let channel = client.channel
      channel.connect()
      let count = policy == .roundRobin ? 2 : 1
      while await channel.core.loop.call({ channel.core.ready.count }) < count {
        await Task.yield()
      }
      for _ in 0..<10 {
        _ = try await channel.unary(Self.idempotentEcho, [1], options: CallOptions())
      }
      relay.swallow()
      let start = ContinuousClock.now
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<20 {
          group.addTask {
            _ = try await channel.unary(Self.idempotentEcho, [1], options: CallOptions())
          }
        }
        try await group.waitForAll()
      }
      let elapsed = start.duration(to: .now)
      let figure = "\(policy): 20 calls were over \(elapsed) after their server fell silent\n"
      FileHandle.standardOutput.write(Data(figure.utf8))
      #expect(elapsed < Self.interval + Self.timeout + Self.slack)
      let after = ContinuousClock.now
      _ = try await channel.unary(Self.idempotentEcho, [1], options: CallOptions())
      #expect(after.duration(to: .now) < Self.slack)
    } configured: {
      $0.loadBalancingPolicy = policy
    }
  }

  /// Where no operating system answers either: bytes stay unacknowledged, as behind a cable that
  /// was cut.
  @Test(.enabled(if: NetworkNamespace.isPermitted, "only root may cut a cable"))
  func callsFailOverWhenPacketsVanish() async throws {
    let namespace = try NetworkNamespace()
    defer { namespace.remove() }
    let first = try await ScriptedServer.start(in: namespace) { stream, _ in
      ScriptedServer.answer(stream, [1])
    }
    let second = try await ScriptedServer.start { stream, _ in ScriptedServer.answer(stream, [2]) }
    let client = try ChannelUnderTest("ipv4:\(first.address),\(second.address)") {
      $0.loadBalancingPolicy = .roundRobin
      $0.keepaliveInterval = Self.interval
      $0.keepaliveTimeout = Self.timeout
      $0.serviceConfig = .retryingIdempotentMethods
    }
    let channel = client.channel
    channel.connect()
    while await channel.core.loop.call({ channel.core.ready.count }) < 2 { await Task.yield() }
    try namespace.cut()
    let start = ContinuousClock.now
    var servers: [UInt8] = []
    for _ in 0..<4 {
      let reply = try await channel.unary(Self.idempotentEcho, [1], options: CallOptions())
      servers += reply.message
    }
    let elapsed = start.duration(to: .now)
    let figure = "4 calls were over \(elapsed) after the packets of their server vanished\n"
    FileHandle.standardOutput.write(Data(figure.utf8))
    #expect(servers == [2, 2, 2, 2])
    #expect(elapsed < Self.interval + Self.timeout + Self.slack)
    await client.stop()
    await first.stop()
    await second.stop()
  }

  /// At most once: the silent server may be at work on it.
  @Test func aCallThatIsNotIdempotentFailsAndIsNotRepeated() async throws {
    try await withRelay { client, relay, server in
      let call = Task {
        try await client.channel.unary(EchoService.hang, [], options: CallOptions())
      }
      await server.service.hasStarted.wait()
      relay.swallow()
      let error = await #expect(throws: RPCError.self) { try await call.value }
      #expect(error?.code == .unavailable)
      #expect(error?.message.contains("did not answer a ping within 0.3 seconds") == true)
      #expect(server.service.running + server.service.cancelled == 1)
    }
  }

  @Test func aServerThatIsSilentFromTheStartIsPassedOver() async throws {
    try await withRelay { client, relay, _ in
      relay.swallow()
      for _ in 0..<5 {
        _ = try await client.channel.unary(EchoService.echo, [1], options: CallOptions())
      }
    } configured: {
      $0.loadBalancingPolicy = .roundRobin
      $0.connectTimeout = .milliseconds(100)
    }
  }

  /// What is sent and never acknowledged is the operating system's to notice: keepalive pings
  /// prove nothing while bytes ahead of them are stuck.
  @Test func theOperatingSystemIsToldOfTheKeepaliveTime() async throws {
    let server = try await EchoServer.start()
    let loop = Loop()
    loop.start()
    let address = server.address.address
    let milliseconds = await loop.call { () -> Int32 in
      let socket = try? Socket.connect(
        to: address, on: loop, userTimeout: .seconds(7), completion: { _ in })
      guard let socket else { return -1 }
      defer { socket.close() }
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      getsockopt(
        socket.fileDescriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &value, &length)
      return value
    }
    #expect(milliseconds == 7_000)
    await loop.stop()
    await server.stop()
  }
}
