import Foundation
import Glibc
import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonTransport

/// Handlers that do not do as they are told, and what is still served at a connection's end.
@Suite(.timeLimit(.minutes(5)))
struct HandlerLifeTests {
  private static let method = MethodDescriptor(
    service: "test.T", name: "Odd", kind: .bidirectional)

  private func withServer(
    _ handler: @escaping Route.Streaming, _ body: (Server, HTTP2Channel) async throws -> Void
  ) async throws {
    var configuration = ServerConfiguration(addresses: [
      try ListenAddress(parsing: "127.0.0.1:0")
    ])
    configuration.loopCount = 1
    configuration.cancellationGrace = .milliseconds(50)
    let server = Server(
      configuration: configuration,
      routes: [Route(method: Self.method, handler: .streaming(handler))], logger: .silent)
    let address = try await server.start()[0]
    let client = try ChannelUnderTest(address.description)
    try await body(server, client.channel)
    await client.stop()
  }

  /// A handler that sleeps through its cancellation and through the server's end: what it then
  /// reads and writes fails, instead of waiting for ever.
  @Test func aHandlerThatOutlivesItsServer() async throws {
    let gate = Ended()
    let begun = Ended()
    let outcome = Signal<Bool>()
    try await withServer { requests, responses, _ in
      begun.signal()
      await gate.wait()
      let hasRead = (try? await requests.next()) != nil
      let hasWritten = (try? await responses.write([1])) != nil
      outcome.send(hasRead || hasWritten)
    } _: { server, channel in
      let call = channel.startCall(Self.method, options: CallOptions())
      try await call.send([1])
      await begun.wait()
      await server.drain(grace: .zero)
      gate.signal()
      #expect(await outcome.wait() == false)
    }
  }

  /// A drain waits for a handler whose stream has gone already.
  @Test func aDrainWaitsForHandlers() async throws {
    let begun = Ended()
    let hasReturned = Atomic<Bool>(false)
    try await withServer { requests, _, _ in
      begun.signal()
      _ = try? await requests.next()
      // Ends a while after it was cancelled.
      for _ in 0..<1_000 { await Task.yield() }
      hasReturned.store(true, ordering: .sequentiallyConsistent)
    } _: { server, channel in
      let call = channel.startCall(Self.method, options: CallOptions())
      _ = call
      await begun.wait()
      await server.drain(grace: .zero)
      let isOver = hasReturned.load(ordering: .sequentiallyConsistent)
      #expect(isOver)
    }
  }

  /// A handler that cancels a task of its own, off the loop, which waits to read or to write.
  @Test(arguments: [true, false]) func aTaskOfTheHandlersIsCancelled(reads: Bool) async throws {
    let outcome = Signal<Void>()
    try await withServer { requests, responses, _ in
      for _ in 0..<100 {
        let child = Task.detached {
          if reads {
            _ = try await requests.next()
          } else {
            while true { try await responses.write([UInt8](repeating: 0, count: 100_000)) }
          }
        }
        await Task.yield()
        child.cancel()
        _ = await child.result
      }
      outcome.send(())
    } _: { server, channel in
      let call = channel.startCall(Self.method, options: CallOptions())
      // Nothing is sent and nothing is read.
      await outcome.wait()
      call.cancel()
      await server.drain(grace: .zero)
    }
  }

  /// What was queued in the turn that ends the connection goes out whole and in order.
  @Test func theLastBytesHoldTheData() async throws {
    let pair = try await ConnectionPair(script: { stream, event in
      guard case .request = event else { return }
      stream.sendHeaders(ScriptedServer.fields([(":status", "200")]))
      stream.send(OutgoingMessage(unframed: [1, 2, 3]))
      stream.finish(trailers: ScriptedServer.fields([("grpc-status", "0")]))
      stream.connection?.close(HTTP2CloseReason(.closedHere, "The test says so."))
    })
    _ = await pair.open(path: "/a", endStream: true)
    var events: [PeerEvent] = []
    for await event in pair.client.events {
      events.append(event)
      if case .closed = event { break }
    }
    #expect(events.contains(.data([1, 2, 3])))
    await pair.finish()
  }

  /// Answers without a message are no attack on the client.
  @Test func manyEmptyAnswers() async throws {
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    for number in 0..<3_000 {
      let call = client.channel.startCall(EchoService.repeated, options: CallOptions())
      try await call.send([0])
      call.finishSending()
      #expect(try await call.receive() == nil, "call \(number)")
    }
    await client.stop()
    await server.stop(grace: .zero)
  }

  /// A server that falls silent is found out although the channel does not ping while idle.
  @Test func keepaliveBeginsWithTheFirstCall() async throws {
    let silent = try SilentHTTP2Server()
    let client = try ChannelUnderTest("127.0.0.1:\(silent.port)") {
      $0.connectTimeout = .seconds(600)
      $0.keepaliveInterval = .milliseconds(100)
      $0.keepaliveTimeout = .milliseconds(100)
    }
    let error = await #expect(throws: RPCError.self) {
      _ = try await client.channel.unary(
        EchoService.echo, [1], options: CallOptions(timeout: .seconds(600)))
    }
    #expect(error?.code == .unavailable)
    await client.stop()
    silent.stop()
  }
}

/// Speaks HTTP/2 for one sentence and is silent ever after.
private final class SilentHTTP2Server: Sendable {
  let port: UInt16
  private let listening: Int32

  init() throws {
    let listening = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let address = try #require(SocketAddress(numericHost: "127.0.0.1", port: 0))
    let bound = address.withSockaddr { bind(listening, $0, $1) }
    #expect(bound == 0)
    #expect(listen(listening, 1) == 0)
    var name = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &name) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = getsockname(listening, $0, &length)
      }
    }
    port = UInt16(bigEndian: name.sin_port)
    self.listening = listening
    // Blocks until somebody connects; then holds the connection until the other side closes it.
    Thread.detachNewThread {
      let connection = accept(listening, nil, nil)
      guard connection >= 0 else { return }
      let settings = FrameClient.frame(FrameClient.Kind.settings)
      _ = settings.withUnsafeBytes {
        send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      var input = [UInt8](repeating: 0, count: 4_096)
      while recv(connection, &input, input.count, 0) > 0 {}
      close(connection)
    }
  }

  func stop() {
    shutdown(listening, Int32(SHUT_RDWR))
    close(listening)
  }
}
