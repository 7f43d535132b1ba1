import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonTransport

/// A channel with several servers: who gets the calls, and what happens when servers come and go.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelBalancingTests {
  /// Servers that answer with their number.
  private func withServers(
    _ count: Int, _ body: ([ScriptedServer]) async throws -> Void
  ) async throws {
    var servers: [ScriptedServer] = []
    for number in 0..<count {
      servers.append(
        try await ScriptedServer.start { stream, _ in
          ScriptedServer.answer(stream, [UInt8(number)])
        })
    }
    do {
      try await body(servers)
    } catch {
      for server in servers { await server.stop() }
      throw error
    }
    for server in servers { await server.stop() }
  }

  private func target(_ servers: [ScriptedServer]) -> String {
    "ipv4:" + servers.map(\.address).joined(separator: ",")
  }

  private func ask(
    _ channel: HTTP2Channel, _ options: CallOptions = CallOptions()
  ) async throws -> UInt8? {
    try await channel.unary(EchoService.echo, [], options: options).message.first
  }

  private func untilReady(_ channel: HTTP2Channel, connections: Int) async {
    channel.connect()
    while await channel.core.loop.call({ [core = channel.core] in core.ready.count }) < connections
    {
      await Task.yield()
    }
  }

  @Test func roundRobinTakesTheServersInTurn() async throws {
    try await withServers(3) { servers in
      let client = try ChannelUnderTest(target(servers)) { $0.loadBalancingPolicy = .roundRobin }
      await untilReady(client.channel, connections: 3)
      var counts: [UInt8: Int] = [:]
      for _ in 0..<30 { counts[try await ask(client.channel) ?? 9, default: 0] += 1 }
      #expect(counts == [0: 10, 1: 10, 2: 10])
      await client.stop()
    }
  }

  @Test func theServiceConfigMayChooseThePolicy() async throws {
    try await withServers(2) { servers in
      let client = try ChannelUnderTest(target(servers)) {
        $0.serviceConfig.loadBalancingPolicy = .roundRobin
      }
      await untilReady(client.channel, connections: 2)
      #expect(try await Set([ask(client.channel), ask(client.channel)]) == [0, 1])
      await client.stop()
    }
  }

  /// Stops a server; nobody else gets its port meanwhile.
  private func stop(_ server: ScriptedServer) async throws -> ReservedPort {
    await server.stop()
    return try ReservedPort(UInt16(server.address.split(separator: ":")[1]) ?? 0)
  }

  @Test func pickFirstStaysWithTheFirstThatAnswers() async throws {
    let first = try ReservedPort()
    defer { first.close() }
    try await withServers(2) { servers in
      let client = try ChannelUnderTest(
        "ipv4:\(first.address),\(servers[0].address),\(servers[1].address)"
      ) {
        // A busy machine may be slower than the usual quarter of a second.
        $0.connectionAttemptDelay = .seconds(30)
      }
      for _ in 0..<10 { #expect(try await ask(client.channel) == 0) }
      #expect(await client.channel.core.loop.call { client.channel.core.connections.count } == 1)
      // Gone like the first: the third takes over without any call failing.
      let second = try await stop(servers[0])
      #expect(try await ask(client.channel) == 1)
      await client.stop()
      second.close()
    }
  }

  /// The happy eyeballs of RFC 8305: a listener that accepts and says nothing costs the delay only.
  @Test func anAddressThatDoesNotAnswerCostsADelayOnly() async throws {
    let silent = try SilentListener()
    defer { silent.close() }
    try await withServers(1) { servers in
      let client = try ChannelUnderTest(
        "ipv4:127.0.0.1:\(silent.port),\(servers[0].address)"
      ) {
        // Whoever waited for the silent one would not end within the suite's time.
        $0.connectTimeout = .seconds(3_600)
      }
      let start = ContinuousClock.now
      #expect(try await ask(client.channel) == 0)
      let elapsed = start.duration(to: .now)
      #expect(elapsed >= .milliseconds(250), "\(elapsed)")
      await client.stop()
    }
  }

  @Test func addressesThatVanishAreDrainedAndNewOnesJoin() async throws {
    try await withServers(3) { servers in
      let addresses = try servers.map { try ServerAddress($0.address) }
      let list = AddressList([addresses[0], addresses[1]])
      let client = try ChannelUnderTest("flags.internal") {
        $0.resolver = list
        $0.loadBalancingPolicy = .roundRobin
      }
      await untilReady(client.channel, connections: 2)
      #expect(try await Set([ask(client.channel), ask(client.channel)]) == [0, 1])
      list.set([addresses[1], addresses[2]])
      var seen: Set<UInt8?> = []
      while !seen.contains(2) { seen.insert(try await ask(client.channel)) }
      seen = []
      for _ in 0..<10 { seen.insert(try await ask(client.channel)) }
      #expect(seen == [1, 2])
      await client.stop()
    }
  }

  /// Each look gives the next of its lists; the last one again and again.
  private final class Registry: AddressResolver {
    struct Failure: Error {}
    private let answers: Mutex<[[ServerAddress]?]>
    let looks = Atomic(0)

    init(_ answers: [[ServerAddress]?]) { self.answers = Mutex(answers) }

    func addresses() async throws -> [ServerAddress] {
      looks.wrappingAdd(1, ordering: .sequentiallyConsistent)
      let answer = answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
      guard let answer else { throw Failure() }
      return answer
    }
  }

  @Test func aLostConnectionHasTheAddressesLookedUpAgain() async throws {
    try await withServers(2) { servers in
      let addresses = try servers.map { try ServerAddress($0.address) }
      let registry = Registry([[addresses[0]], [addresses[1]]])
      let client = try ChannelUnderTest("flags.internal") {
        $0.resolver = registry
        $0.resolutionInterval = .milliseconds(20)
      }
      #expect(try await ask(client.channel) == 0)
      let port = try await stop(servers[0])
      #expect(try await ask(client.channel, CallOptions(waitForReady: true)) == 1)
      #expect(registry.looks.load(ordering: .sequentiallyConsistent) == 2)
      await client.stop()
      port.close()
    }
  }

  @Test func addressesThatWereGoodStayWhenTheResolverFails() async throws {
    try await withServers(1) { servers in
      let registry = Registry([[try ServerAddress(servers[0].address)], nil])
      let client = try ChannelUnderTest("flags.internal") {
        $0.resolver = registry
        $0.resolutionInterval = .milliseconds(1)
      }
      #expect(try await ask(client.channel) == 0)
      for _ in 0..<3 {
        let connection = await client.channel.core.loop.call { client.channel.core.ready.first }
        client.channel.core.loop.execute {
          connection?.close(HTTP2CloseReason(.closedHere, "The test wants it so."))
        }
        while client.channel.state == .ready { await Task.yield() }
        #expect(try await ask(client.channel) == 0)
      }
      while registry.looks.load(ordering: .sequentiallyConsistent) < 2 { await Task.yield() }
      #expect(try await ask(client.channel) == 0)
      await client.stop()
    }
  }

  @Test func aResolverThatFailsSaysWhyInTheCallsError() async throws {
    let client = try ChannelUnderTest("flags.internal") { $0.resolver = Registry([nil]) }
    let error = await #expect(throws: RPCError.self) { try await ask(client.channel) }
    #expect(error?.code == .unavailable)
    #expect(error?.message.contains("flags.internal: the resolver failed: Failure()") == true)
    await client.stop()
  }

  @Test func waitingForReadyHasABoundOfItsOwn() async throws {
    let port = try ReservedPort()
    defer { port.close() }
    let client = try ChannelUnderTest(port.address)
    let options = CallOptions(waitForReady: true, readyTimeout: .milliseconds(50))
    let error = await #expect(throws: RPCError.self) { try await ask(client.channel, options) }
    #expect(error?.code == .unavailable)
    #expect(error?.message.contains("0.05 seconds of waiting") == true)
    #expect(error?.message.contains("connection refused") == true)
    await client.stop()
  }

  @Test func anIdleChannelClosesItsConnectionsAndComesBack() async throws {
    try await withServers(2) { servers in
      let client = try ChannelUnderTest(target(servers)) {
        $0.loadBalancingPolicy = .roundRobin
        $0.idleTimeout = .milliseconds(20)
      }
      await untilReady(client.channel, connections: 2)
      #expect(try await ask(client.channel) != nil)
      for await state in client.channel.states where state == .idle { break }
      while await client.channel.core.loop.call({ client.channel.core.connections.count }) > 0 {
        await Task.yield()
      }
      #expect(try await ask(client.channel) != nil)
      await client.stop()
    }
  }
}
