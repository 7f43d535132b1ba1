/// A way to reach a server: makes calls, with messages in their encoded form.
///
/// Generated clients wrap one. KeelsonTransport has the one that speaks HTTP/2 and the in-process
/// one for tests.
public protocol Channel: Sendable {
  /// Begins a call and returns at once; whatever goes wrong is thrown by the call's
  /// ``ClientCall/receive()``.
  func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall

  /// A whole unary call.
  ///
  /// - Throws: ``RPCError`` for any status but OK; `CancellationError` never: a cancelled task
  ///   gets an ``RPCError`` with code CANCELLED.
  func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions) async throws
    -> UnaryReply
}

/// The answer to a unary call.
public struct UnaryReply: Sendable {
  public var message: [UInt8]
  public var initialMetadata: Metadata
  public var trailingMetadata: Metadata

  public init(message: [UInt8], initialMetadata: Metadata, trailingMetadata: Metadata) {
    self.message = message
    self.initialMetadata = initialMetadata
    self.trailingMetadata = trailingMetadata
  }
}

/// One call under way on the client's side. Used by one task for sending and one for receiving.
public protocol ClientCall: AnyObject, Sendable {
  /// Sends a message and returns once there is room for another (backpressure).
  ///
  /// - Throws: ``RPCError`` when the call has ended; ``receive()`` then says how.
  func send(_ message: [UInt8]) async throws

  /// Says that no more messages follow. Calling it again does nothing.
  func finishSending()

  /// Waits for the next message; nil once the server ended the call with OK.
  ///
  /// - Throws: ``RPCError`` for any other status.
  func receive() async throws -> [UInt8]?

  /// The same, saying of this message whether it may be compressed; a call that does not compress
  /// sends it as it is.
  func send(_ message: [UInt8], compress: Bool) async throws

  /// Waits for the metadata ahead of the first message.
  ///
  /// - Throws: ``RPCError`` if the call fails before any came.
  func initialMetadata() async throws -> Metadata

  /// The metadata that came with the status; empty until ``receive()`` has returned nil or thrown.
  var trailingMetadata: Metadata { get }

  /// Ends the call: the server is told, ``receive()`` throws CANCELLED.
  func cancel()
}

extension ClientCall {
  public func send(_ message: [UInt8], compress: Bool) async throws {
    try await send(message)
  }
}

/// What a caller may set for one call.
public struct CallOptions: Sendable {
  /// Custom metadata to send.
  public var metadata: Metadata
  /// How long the whole call may take; nil: as long as it likes (a unary call then has the
  /// channel's default).
  public var timeout: Duration?
  /// Whether to wait, within the timeout, for a connection instead of failing with UNAVAILABLE
  /// when there is none.
  public var waitForReady: Bool
  /// How long a call that waits for a connection does so at most before it fails with UNAVAILABLE;
  /// nil: as long as the call may take.
  public var readyTimeout: Duration?
  /// Whether request messages are sent compressed (gzip) if that makes them smaller; nil: as the
  /// channel's configuration says.
  public var compressesRequests: Bool?

  public init(
    metadata: Metadata = [:], timeout: Duration? = nil, waitForReady: Bool = false,
    readyTimeout: Duration? = nil, compressesRequests: Bool? = nil
  ) {
    self.metadata = metadata
    self.timeout = timeout
    self.waitForReady = waitForReady
    self.readyTimeout = readyTimeout
    self.compressesRequests = compressesRequests
  }
}

extension Channel {
  /// A unary call made of the streaming parts; transports may have a shorter way.
  public func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions)
    async throws -> UnaryReply
  {
    let call = startCall(method, options: options)
    do {
      try await call.send(request)
    } catch {
      // The call ended early: receive() knows the status.
    }
    call.finishSending()
    guard let message = try await call.receive() else {
      throw RPCError(.internalError, "The server ended a unary call with OK but sent no message.")
    }
    guard try await call.receive() == nil else {
      call.cancel()
      throw RPCError(.internalError, "The server sent more than one message on a unary call.")
    }
    return UnaryReply(
      message: message, initialMetadata: try await call.initialMetadata(),
      trailingMetadata: call.trailingMetadata)
  }
}
