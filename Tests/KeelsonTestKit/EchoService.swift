package import KeelsonCore
import Synchronization

/// A service for tests of transports: one method of each kind, and some that misbehave.
///
/// The same tests drive it over every transport, so that they agree with one another.
package final class EchoService: Sendable {
  package static let service = "keelson.test.v1.EchoService"

  package static func method(
    _ name: String, _ kind: CallKind, isIdempotent: Bool = false
  ) -> MethodDescriptor {
    MethodDescriptor(service: service, name: name, kind: kind, isIdempotent: isIdempotent)
  }

  /// Answers with its request. Metadata `x-echo` comes back ahead of the message, `x-echo-bin`
  /// in the trailers.
  package static let echo = method("Echo", .unary)
  /// Fails with NOT_FOUND, an encoded status of bytes 1, 2, 3 and trailing metadata.
  package static let fail = method("Fail", .unary)
  /// Fails with an error that is no ``RPCError``.
  package static let crash = method("Crash", .unary)
  /// Answers never; ends when cancelled.
  package static let hang = method("Hang", .unary)
  /// Answers with the number of messages and bytes, as eight bytes of each, least significant first.
  package static let count = method("Count", .clientStreaming)
  /// Sends back what the request says: a byte for how many messages, then the message.
  package static let repeated = method("Repeat", .serverStreaming)
  /// Sends messages of 1 KiB for ever; ``written`` counts them.
  package static let flood = method("Flood", .serverStreaming)
  /// Echoes each message as it comes.
  package static let chat = method("Chat", .bidirectional)
  /// Never reads its requests; ends when cancelled.
  package static let ignore = method("Ignore", .bidirectional)

  /// How many messages `flood` has written.
  package var written: Int { counters.withLock { $0.written } }
  /// How many handlers are running.
  package var running: Int { counters.withLock { $0.running } }
  /// How many calls of `hang`, `flood` and `ignore` ended in cancellation.
  package var cancelled: Int { counters.withLock { $0.cancelled } }

  /// Sent when `hang`, `flood` or `ignore` has begun.
  package let hasStarted = Signal<Void>()
  /// Sent when a handler of `hang`, `flood` or `ignore` was cancelled.
  package let wasCancelled = Signal<Void>()

  private struct Counters {
    var written = 0
    var running = 0
    var cancelled = 0
  }
  private let counters = Mutex(Counters())

  package init() {}

  package var routes: [Route] {
    [
      Route(
        method: Self.echo,
        handler: .unary { request, context in
          if let value = context.metadata["x-echo"] { context.initialMetadata.add("x-echo", value) }
          if let value = context.metadata[binary: "x-echo-bin"] {
            context.trailingMetadata.add("x-echo-bin", binary: value)
          }
          return request
        }),
      Route(
        method: Self.fail,
        handler: .unary { _, context in
          context.trailingMetadata.add("x-from", "context")
          var error = RPCError(
            .notFound, "Nothing hère: 100% gone", metadata: ["x-why": "test"], cause: "secret")
          error.encodedStatus = [1, 2, 3]
          throw error
        }),
      Route(method: Self.crash, handler: .unary { _, _ in throw Crash() }),
      Route(
        method: Self.hang,
        handler: .unary { [self] _, _ in try await untilCancelled { try await Self.never() } }),
      Route(
        method: Self.count,
        handler: .streaming { requests, responses, _ in
          var messages: UInt64 = 0
          var bytes: UInt64 = 0
          while let message = try await requests.next() {
            messages += 1
            bytes += UInt64(message.count)
          }
          try await responses.write(Self.encoded(messages) + Self.encoded(bytes))
        }),
      Route(
        method: Self.repeated,
        handler: .streaming { requests, responses, _ in
          let request = try await requests.next() ?? []
          for _ in 0..<(request.first ?? 0) {
            try await responses.write(Array(request.dropFirst()))
          }
        }),
      Route(
        method: Self.flood,
        handler: .streaming { [self] _, responses, _ in
          let message = [UInt8](repeating: 0x55, count: 1024)
          try await untilCancelled {
            while true {
              try await responses.write(message)
              counters.withLock { $0.written += 1 }
            }
          }
        }),
      Route(
        method: Self.chat,
        handler: .streaming { requests, responses, context in
          if let value = context.metadata["x-echo"] { context.initialMetadata.add("x-echo", value) }
          while let message = try await requests.next() { try await responses.write(message) }
        }),
      Route(
        method: Self.ignore,
        handler: .streaming { [self] _, _, _ in
          try await untilCancelled { _ = try await Self.never() }
        }),
    ]
  }

  /// A number as `count` answers it.
  package static func encoded(_ number: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
  }

  private struct Crash: Error {}

  private func untilCancelled<Result>(_ body: () async throws -> Result) async throws -> Result {
    counters.withLock { $0.running += 1 }
    hasStarted.send()
    do {
      return try await body()
    } catch {
      counters.withLock {
        $0.running -= 1
        $0.cancelled += 1
      }
      wasCancelled.send()
      throw error
    }
  }

  private static func never() async throws -> [UInt8] {
    let (stream, continuation) = AsyncStream<Void>.makeStream()
    for await _ in stream {}
    withExtendedLifetime(continuation) {}
    throw CancellationError()
  }
}
