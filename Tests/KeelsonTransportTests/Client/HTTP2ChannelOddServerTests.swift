import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// How a channel deals with servers that refuse, misbehave or fall silent.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelOddServerTests {
  private func withServer(
    _ script: @escaping ScriptedServer.Script, _ body: (HTTP2Channel) async throws -> Void
  ) async throws {
    let server = try await ScriptedServer.start(script)
    let client = try ChannelUnderTest(server.address)
    do {
      try await body(client.channel)
    } catch {
      await client.stop()
      await server.stop()
      throw error
    }
    await client.stop()
    await server.stop()
  }

  private func echo(_ channel: HTTP2Channel) async throws -> [UInt8] {
    try await channel.unary(EchoService.echo, [1], options: CallOptions()).message
  }

  private func code(of channel: HTTP2Channel) async -> RPCError.Code? {
    do {
      _ = try await echo(channel)
      return nil
    } catch {
      return (error as? RPCError)?.code
    }
  }

  @Test func aRefusedStreamIsRepeatedOnce() async throws {
    try await withServer { stream, number in
      if number == 1 { stream.reset(.refusedStream) } else { ScriptedServer.answer(stream, [9]) }
    } _: { channel in
      let message = try await echo(channel)
      #expect(message == [9])
    }
  }

  @Test func callsThatWaitForAConnectionThatGoesAwayAtOnceTakeTheNext() async throws {
    let server = try await ScriptedServer.start(turningAway: 2) { stream, _ in
      ScriptedServer.answer(stream, [9])
    }
    let client = try ChannelUnderTest(server.address)
    try await withThrowingTaskGroup(of: [UInt8].self) { group in
      for _ in 0..<20 { group.addTask { try await echo(client.channel) } }
      for try await message in group { #expect(message == [9]) }
    }
    await client.stop()
    await server.stop()
  }

  @Test func aStreamRefusedTwiceFails() async throws {
    let requests = Mutex(0)
    try await withServer { stream, number in
      requests.withLock { $0 = number }
      stream.reset(.refusedStream)
    } _: { channel in
      #expect(await code(of: channel) == .unavailable)
      #expect(requests.withLock { $0 } == 2)
    }
  }

  @Test func aStreamingCallIsRepeatedWithWhatItSent() async throws {
    try await withServer { stream, number in
      if number == 1 { stream.reset(.refusedStream) } else { ScriptedServer.answer(stream, [9]) }
    } _: { channel in
      let call = channel.startCall(EchoService.count, options: CallOptions())
      try await call.send([1])
      call.finishSending()
      #expect(try await call.receive() == [9])
      #expect(try await call.receive() == nil)
    }
  }

  @Test func aCallThatWasAnsweredIsNotRepeated() async throws {
    let requests = Mutex(0)
    try await withServer { stream, number in
      requests.withLock { $0 = number }
      stream.sendHeaders(
        ScriptedServer.fields([(":status", "200"), ("content-type", "application/grpc")]))
      // In a later turn: a reset in this one would drop the headers.
      _ = stream.connection?.loop.schedule(afterMilliseconds: 0) { stream.reset(.refusedStream) }
    } _: { channel in
      #expect(await code(of: channel) == .unavailable)
      #expect(requests.withLock { $0 } == 1)
    }
  }

  @Test(arguments: [
    ([(":status", "503")], RPCError.Code.unavailable), ([(":status", "404")], .unimplemented),
    ([(":status", "200"), ("content-type", "text/plain")], .unknown),
    ([(":status", "200"), ("content-type", "application/grpc")], .internalError),
    (
      [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "9")],
      .failedPrecondition
    ),
  ])
  func responsesOfHeadersOnly(fields: [(String, String)], code: RPCError.Code) async throws {
    try await withServer { stream, _ in
      stream.sendHeaders(ScriptedServer.fields(fields), endStream: true)
    } _: { channel in
      #expect(await self.code(of: channel) == code)
    }
  }

  @Test func unaryCallsWithNoMessageOrTwoFail() async throws {
    try await withServer { stream, number in
      stream.sendHeaders(
        ScriptedServer.fields([(":status", "200"), ("content-type", "application/grpc")]))
      for _ in 0..<(number == 1 ? 0 : 2) { stream.send(OutgoingMessage([1])) }
      stream.finish(trailers: ScriptedServer.fields([("grpc-status", "0")]))
    } _: { channel in
      #expect(await code(of: channel) == .internalError)
      #expect(await code(of: channel) == .internalError)
    }
  }

  @Test func aServerThatDropsTheConnectionMakesCallsUnavailable() async throws {
    try await withServer { stream, number in
      if number == 1 {
        let connection = stream.connection
        connection?.loop.execute {
          connection?.close(HTTP2CloseReason(.closedHere, "The test wants it so."))
        }
      } else {
        ScriptedServer.answer(stream, [9])
      }
    } _: { channel in
      #expect(await code(of: channel) == .unavailable)
      let message = try await echo(channel)
      #expect(message == [9])
    }
  }

  @Test func aResetAtTheDeadlineIsDeadlineExceeded() async throws {
    try await withServer { _, _ in
    } _: { channel in
      let error = await #expect(throws: RPCError.self) {
        try await channel.unary(
          EchoService.echo, [], options: CallOptions(timeout: .milliseconds(20)))
      }
      #expect(error?.code == .deadlineExceeded)
    }
  }
}
