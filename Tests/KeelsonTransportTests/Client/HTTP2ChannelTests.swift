import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelTests {
  /// Runs a body with a server and a channel to it.
  private func withServer(
    at text: String = "127.0.0.1:0",
    _ change: (inout ChannelConfiguration) -> Void = { _ in },
    _ body: (HTTP2Channel, EchoServer) async throws -> Void
  ) async throws {
    let server = try await EchoServer.start(at: text)
    let client = try ChannelUnderTest(server.address.description, change)
    do {
      try await body(client.channel, server)
    } catch {
      await client.stop()
      await server.stop(grace: .zero)
      throw error
    }
    await client.stop()
    await server.stop(grace: .zero)
  }

  private func error(
    of channel: HTTP2Channel, _ method: MethodDescriptor = EchoService.echo,
    _ options: CallOptions = CallOptions()
  ) async -> RPCError? {
    do {
      _ = try await channel.unary(method, [1], options: options)
      return nil
    } catch {
      return error as? RPCError
    }
  }

  @Test func behavesAsEveryChannelDoesOverTCP() async throws {
    try await withServer { channel, server in
      try await EchoConformance(channel: channel, service: server.service).runAll()
    }
  }

  @Test func behavesAsEveryChannelDoesOverAUnixSocket() async throws {
    let path = NSTemporaryDirectory() + "keelson-\(UUID().uuidString.prefix(8)).sock"
    try await withServer(at: "unix:\(path)") { channel, server in
      try await EchoConformance(channel: channel, service: server.service).runAll()
    }
  }

  @Test func namesAreResolved() async throws {
    let server = try await EchoServer.start()
    guard case .ipv4(_, let port) = server.address.address.kind else { return }
    let client = try ChannelUnderTest("dns:///localhost:\(port)")
    #expect(
      try await client.channel.unary(EchoService.echo, [5], options: CallOptions()).message == [5])
    await client.stop()
    let lost = try ChannelUnderTest("no-such-host.invalid:7400")
    let error = await error(of: lost.channel)
    #expect(error?.code == .unavailable)
    #expect(error?.message.contains("no-such-host.invalid") == true)
    await lost.stop()
    await server.stop()
  }

  @Test func aThousandCallsAtOnce() async throws {
    try await withServer { channel, _ in
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<1000 {
          group.addTask {
            let request = EchoService.encoded(UInt64(number))
            return try await channel.unary(EchoService.echo, request, options: CallOptions())
              .message == request
          }
        }
        for try await isRight in group { #expect(isRight) }
      }
    }
  }

  @Test func aPortWhereNobodyListensFailsAtOnceAndSaysSo() async throws {
    let server = try await EchoServer.start()
    let target = server.address.description
    await server.stop()
    let client = try ChannelUnderTest(target) { $0.backoff.initial = .seconds(60) }
    let error = await error(of: client.channel)
    #expect(error?.code == .unavailable)
    #expect(error?.message == "\(target): connection refused; is the server running?")
    #expect(client.channel.state == .transientFailure)
    // And the next one does not wait for the next attempt.
    #expect(await self.error(of: client.channel)?.code == .unavailable)
    let late = await self.error(
      of: client.channel, EchoService.echo,
      CallOptions(timeout: .seconds(1), waitForReady: true))
    #expect(late?.code == .deadlineExceeded)
    #expect(late?.message.contains("connection refused") == true)
    await client.stop()
  }

  @Test func aMissingUnixSocketFailsAtOnceAndSaysSo() async throws {
    let client = try ChannelUnderTest("unix:/nowhere/keelson.sock")
    let error = await error(of: client.channel)
    #expect(error?.code == .unavailable)
    #expect(
      error?.message
        == "unix:/nowhere/keelson.sock: no such file or directory; is the server running?")
    await client.stop()
  }

  @Test func aServerThatSaysNothingTimesOut() async throws {
    let silent = try SilentListener()
    defer { silent.close() }
    let client = try ChannelUnderTest("127.0.0.1:\(silent.port)") {
      $0.connectTimeout = .milliseconds(30)
    }
    let error = await error(of: client.channel)
    #expect(error?.code == .unavailable)
    #expect(error?.message.contains("within") == true, "\(error?.message ?? "")")
    await client.stop()
  }

  @Test func aRestartedServerIsFoundAgain() async throws {
    let first = try await EchoServer.start()
    let address = first.address.description
    let client = try ChannelUnderTest(address)
    #expect(await error(of: client.channel) == nil)
    await first.stop()
    #expect(await error(of: client.channel)?.code == .unavailable)
    async let waiting = error(
      of: client.channel, EchoService.echo, CallOptions(waitForReady: true))
    let second = try await EchoServer.start(at: address)
    #expect(await waiting == nil)
    #expect(await error(of: client.channel) == nil)
    await client.stop()
    await second.stop()
  }

  /// Servers come and go under load; every call is answered.
  @Test func goAwayDuringCallsLosesNothing() async throws {
    var server = try await EchoServer.start()
    let address = server.address.description
    let client = try ChannelUnderTest(address)
    let channel = client.channel
    let load = Task {
      await withTaskGroup(of: (Int, RPCError?).self) { group in
        for _ in 0..<20 {
          group.addTask {
            var answered = 0
            while !Task.isCancelled {
              do {
                let call = Task {
                  try await channel.unary(
                    EchoService.echo, [7], options: CallOptions(waitForReady: true))
                }
                _ = try await call.value
                answered += 1
              } catch {
                return (answered, error as? RPCError)
              }
            }
            return (answered, nil)
          }
        }
        return await group.reduce(into: [(Int, RPCError?)]()) { $0.append($1) }
      }
    }
    for _ in 0..<5 {
      for _ in 0..<200 {
        _ = try await channel.unary(
          EchoService.echo, [1], options: CallOptions(waitForReady: true))
      }
      await server.stop()
      server = try await EchoServer.start(at: address)
    }
    load.cancel()
    for (answered, error) in await load.value {
      #expect(error == nil)
      #expect(answered > 0)
    }
    await client.stop()
    await server.stop()
  }

  @Test func streamsOutliveAGoAway() async throws {
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    let call = client.channel.startCall(EchoService.chat, options: CallOptions())
    try await call.send([1])
    #expect(try await call.receive() == [1])
    async let stopped: Void = server.stop()
    for await state in client.channel.states where state == .idle { break }
    try await call.send([2])
    #expect(try await call.receive() == [2])
    call.finishSending()
    #expect(try await call.receive() == nil)
    await stopped
    await client.stop()
  }

  @Test func aLostConnectionEndsItsCalls() async throws {
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    async let hanging = error(of: client.channel, EchoService.hang)
    await server.service.hasStarted.wait()
    await server.stop(grace: .zero)
    #expect(await hanging?.code == .unavailable)
    await client.stop()
  }

  @Test func shutdownLetsCallsFinishAndRefusesNewOnes() async throws {
    try await withServer { channel, _ in
      let call = channel.startCall(EchoService.chat, options: CallOptions())
      try await call.send([1])
      #expect(try await call.receive() == [1])
      async let done: Void = channel.shutdown(grace: .seconds(60))
      for await state in channel.states where state == .shutdown { break }
      #expect(await error(of: channel)?.code == .unavailable)
      try await call.send([2])
      #expect(try await call.receive() == [2])
      call.finishSending()
      #expect(try await call.receive() == nil)
      await done
    }
  }

  @Test func shutdownCancelsWhatOutlivesItsGrace() async throws {
    try await withServer { channel, server in
      async let hanging = error(of: channel, EchoService.hang)
      await server.service.hasStarted.wait()
      await channel.shutdown(grace: .milliseconds(5))
      #expect(await hanging?.code == .cancelled)
      await server.service.wasCancelled.wait()
    }
  }

  @Test func statesAreToldInOrder() async throws {
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    var states = client.channel.states.makeAsyncIterator()
    #expect(await states.next() == .idle)
    client.channel.connect()
    while client.channel.state != .ready { await Task.yield() }
    #expect(await states.next() == .ready)
    await server.stop()
    #expect(await states.next() == .idle)
    await client.stop()
    #expect(await states.next() == .shutdown)
    #expect(await states.next() == nil)
  }

  @Test func lettingGoOfACallCancelsIt() async throws {
    try await withServer { channel, server in
      var call: (any ClientCall)? = channel.startCall(EchoService.ignore, options: CallOptions())
      try await call?.send([])
      await server.service.hasStarted.wait()
      call = nil
      await server.service.wasCancelled.wait()
    }
  }

  @Test func responsesOverTheChannelsLimitAreRefused() async throws {
    try await withServer {
      $0.maximumResponseBytes = 1000
    } _: { channel, _ in
      let small = [UInt8](repeating: 1, count: 1000)
      let reply = try await channel.unary(EchoService.echo, small, options: CallOptions())
      #expect(reply.message == small)
      let error = await #expect(throws: RPCError.self) {
        try await channel.unary(EchoService.echo, small + [1], options: CallOptions())
      }
      #expect(error?.code == .resourceExhausted)
    }
  }

  @Test func nothingIsLeftBehind() async throws {
    let server = try await EchoServer.start()
    var loops: LoopGroup? = LoopGroup(count: 1)
    weak let loop = loops?.loops.first
    weak var core: ChannelCore?
    weak var connection: HTTP2Connection?
    if let loops {
      let channel = try HTTP2Channel(target: try Target(server.address.description), loops: loops)
      core = channel.core
      for _ in 0..<10 { _ = try await channel.unary(EchoService.echo, [1], options: CallOptions()) }
      connection = await channel.core.loop.call { [core = channel.core] in core.openConnections[0] }
      #expect(connection != nil)
      let call = channel.startCall(EchoService.chat, options: CallOptions())
      try await call.send([1])
      _ = try await call.receive()
    }
    // The channel and the call went without a word; all of it closes by itself.
    while core != nil || connection != nil { await Task.yield() }
    await loops?.stop()
    loops = nil
    // The thread lets go of its loop a moment after it has said that it ended.
    while loop != nil { await Task.yield() }
    await server.stop()
  }

  @Test func usingAChannelAfterItsLoopsStoppedFails() async throws {
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    async let hanging = error(of: client.channel, EchoService.hang)
    await server.service.hasStarted.wait()
    await client.loops.stop()
    #expect(await hanging?.code == .cancelled)
    #expect(await error(of: client.channel)?.code == .unavailable)
    await client.channel.shutdown()
    await server.stop()
  }
}
