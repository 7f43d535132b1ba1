/// A method with the handler that serves it, messages still in their encoded form.
///
/// Generated code makes routes from a service's typed handler; the transport's router finds them
/// by path. A handler runs as a task on its connection's loop and is cancelled when the caller
/// cancels, goes away, or its deadline passes. An ``RPCError`` it throws becomes the status; any
/// other error becomes UNKNOWN with a fixed message and is logged.
package struct Route: Sendable {
  package typealias Unary =
    @Sendable (_ request: [UInt8], _ context: ServerContext) async throws
    -> [UInt8]
  /// A unary handler that never waits: it runs on the loop right away, without a task, so it must
  /// be quick and must not block. Nothing can cancel it.
  package typealias Immediate =
    @Sendable (_ request: [UInt8], _ context: ServerContext) throws -> [UInt8]
  package typealias Streaming =
    @Sendable (
      _ requests: any InboundMessages, _ responses: any OutboundMessages, _ context: ServerContext
    ) async throws -> Void

  package enum Handler: Sendable {
    /// One message in, one out: the transport gathers the request before it calls.
    case unary(Unary)
    /// The same for handlers that never wait.
    case immediate(Immediate)
    /// Any other kind.
    case streaming(Streaming)
  }

  package let method: MethodDescriptor
  package let handler: Handler

  package init(method: MethodDescriptor, handler: Handler) {
    self.method = method
    self.handler = handler
  }
}

/// The encoded messages that arrive on a call, in order.
package protocol InboundMessages: AnyObject, Sendable {
  /// Waits for the next message; nil after the last. Reading is what opens the peer's
  /// flow-control window again, so a handler that does not read slows its peer down.
  ///
  /// - Throws: `CancellationError` or ``RPCError`` when the call ended before its last message.
  func next() async throws -> [UInt8]?
}

/// The way out for a call's encoded messages.
package protocol OutboundMessages: AnyObject, Sendable {
  /// Queues a message and returns once there is room for another: when the peer reads slowly,
  /// this waits. The array is not copied, so one encoding may go to many calls.
  ///
  /// - Throws: `CancellationError` or ``RPCError`` when the call has ended.
  func write(_ message: [UInt8]) async throws
}
