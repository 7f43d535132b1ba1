package import KeelsonCore

/// The way out for a call's messages.
package struct ResponseWriter<Response: Message>: Sendable {
  private let messages: any OutboundMessages

  package init(_ messages: any OutboundMessages) {
    self.messages = messages
  }

  /// Sends a message and returns once there is room for another.
  ///
  /// - Throws: `CancellationError` or ``RPCError`` when the call has ended.
  package func write(_ message: Response) async throws {
    try await messages.write(message.encoded())
  }

  /// Sends a message that is encoded already, so that one encoding can go to many calls.
  ///
  /// - Parameter encoded: the encoding of a `Response`.
  /// - Throws: `CancellationError` or ``RPCError`` when the call has ended.
  package func write(encoded: [UInt8]) async throws {
    try await messages.write(encoded)
  }
}
