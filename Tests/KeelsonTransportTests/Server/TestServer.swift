import KeelsonCore
import Synchronization

@testable import KeelsonTransport

/// A server with routes that tests call, listening on a free port.
struct TestServer {
  let server: Server
  let address: ListenAddress
  let signals: Signals

  init(
    _ adjust: (inout ServerConfiguration) -> Void = { _ in },
    interceptors: [ServerInterceptor] = [.correlation()],
    encodeDetails: @escaping @Sendable (RPCError) -> RPCError = { $0 },
    logger: Logger = .silent
  ) async throws {
    var configuration = ServerConfiguration(addresses: [
      try ListenAddress(parsing: "127.0.0.1:0")
    ])
    configuration.loopCount = 2
    adjust(&configuration)
    signals = Signals()
    server = Server(
      configuration: configuration, routes: Self.routes(signals), interceptors: interceptors,
      encodeDetails: encodeDetails, logger: logger)
    address = try await server.start()[0]
  }

  func finish() async { await server.drain(grace: .zero) }

  /// What handlers tell the tests.
  final class Signals: Sendable {
    let events: AsyncStream<String>
    let continuation: AsyncStream<String>.Continuation
    /// Keeps `/test.T/Park` waiting until the test lets go.
    let gate = Ended()

    init() {
      (events, continuation) = AsyncStream.makeStream()
    }

    func say(_ event: String) { continuation.yield(event) }

    func wait(for event: String) async -> Bool {
      for await each in events where each == event { return true }
      return false
    }
  }

  private struct Odd: Error {}

  private static func routes(_ signals: Signals) -> [Route] {
    func unary(_ name: String, _ handler: @escaping Route.Unary) -> Route {
      Route(
        method: MethodDescriptor(service: "test.T", name: name, kind: .unary),
        handler: .unary(handler))
    }
    func streaming(_ name: String, _ kind: CallKind, _ handler: @escaping Route.Streaming) -> Route
    {
      Route(
        method: MethodDescriptor(service: "test.T", name: name, kind: kind),
        handler: .streaming(handler))
    }
    return [
      unary("Echo") { request, context in
        for entry in context.metadata.entries where entry.name.hasPrefix("echo-") {
          switch entry.value {
          case .string(let text):
            context.initialMetadata.add(entry.name, text)
            context.trailingMetadata.add("t-" + entry.name, text)
          case .binary(let bytes): context.trailingMetadata.add(entry.name, binary: bytes)
          }
        }
        return request
      },
      unary("Peer") { _, context in Array("\(context.peer) \(context.correlationID)".utf8) },
      unary("Fail") { _, _ in
        var error = RPCError(.notFound, "No füße here", metadata: ["why": "because"])
        error.encodedStatus = [1, 2, 3]
        throw error
      },
      unary("Odd") { _, _ in throw Odd() },
      unary("Oversized") { request, context in
        let text = String(repeating: "x", count: 100_000)
        switch String(decoding: request, as: UTF8.self) {
        case "details":
          var error = RPCError(.notFound, "gone")
          error.encodedStatus = [UInt8](repeating: 1, count: 100_000)
          throw error
        case "message": throw RPCError(.notFound, "gone" + String(repeating: "ü", count: 100_000))
        case "error metadata":
          var metadata = Metadata()
          metadata.add("x-large", text)
          throw RPCError(.notFound, "gone", metadata: metadata)
        case "initial metadata": context.initialMetadata.add("x-large", text)
        default: context.trailingMetadata.add("x-large", text)
        }
        return request
      },
      unary("Park") { request, _ in
        signals.say("parked")
        await withTaskCancellationHandler {
          await signals.gate.wait()
        } onCancel: {
          signals.say("cancelled")
          signals.gate.signal()
        }
        return request
      },
      streaming("Count", .serverStreaming) { requests, responses, _ in
        guard let first = try await requests.next() else { return }
        for number in 0..<first[0] { try await responses.write([number]) }
      },
      streaming("Flood", .serverStreaming) { _, responses, _ in
        var written = 0
        do {
          while true {
            try await responses.write([UInt8](repeating: 1, count: 10_000))
            written += 1
            signals.say("written \(written)")
          }
        } catch {
          signals.say("flood ended")
          throw error
        }
      },
      streaming("Sum", .clientStreaming) { requests, responses, _ in
        var sum = 0
        while let message = try await requests.next() { sum += message.count }
        try await responses.write(Array(String(sum).utf8))
      },
      streaming("Chat", .bidirectional) { requests, responses, _ in
        while let message = try await requests.next() { try await responses.write(message) }
      },
      streaming("Press", .bidirectional) { requests, responses, context in
        // The first byte says whether the response is to be compressed.
        while let message = try await requests.next() {
          context.responseCompression = message.first == 1 ? .on : .off
          try await responses.write(message)
        }
      },
      streaming("Elsewhere", .bidirectional) { requests, responses, _ in
        // A detached task runs on the shared pool: the way there and back through the mailbox.
        try await Task.detached {
          while let message = try await requests.next() { try await responses.write(message) }
        }.value
      },
      streaming("Deaf", .clientStreaming) { _, _, _ in
        signals.say("parked")
        try await withTaskCancellationHandler {
          await signals.gate.wait()
          try Task.checkCancellation()
        } onCancel: {
          signals.say("cancelled")
          signals.gate.signal()
        }
      },
      streaming("Wait", .bidirectional) { requests, _, _ in
        signals.say("waiting")
        do {
          _ = try await requests.next()
        } catch {
          signals.say("wait ended")
          throw error
        }
      },
    ]
  }
}
