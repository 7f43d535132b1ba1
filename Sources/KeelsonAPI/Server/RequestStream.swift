package import KeelsonCore

/// The messages that arrive on a call, decoded. Can be gone through once.
package struct RequestStream<Request: Message>: AsyncSequence, Sendable {
  package typealias Element = Request
  package typealias Failure = any Error

  private let messages: any InboundMessages

  package init(_ messages: any InboundMessages) {
    self.messages = messages
  }

  package func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(messages: messages)
  }

  package struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let messages: any InboundMessages

    /// Waits for the next message; nil after the last.
    ///
    /// - Throws: ``RPCError`` with code INVALID_ARGUMENT for a message that cannot be decoded;
    ///   `CancellationError` or ``RPCError`` when the call ended before its last message.
    package mutating func next() async throws -> Request? {
      try await next(isolation: #isolation)
    }

    /// The same; handlers run on their connection's loop and stay there.
    package mutating func next(isolation: isolated (any Actor)?) async throws -> Request? {
      guard let bytes = try await messages.next() else { return nil }
      return try Request(decoding: bytes, limits: .standard)
    }
  }
}
