import Synchronization

/// What a handler knows of the call it serves, and the metadata it sends back.
package final class ServerContext: Sendable {
  package let method: MethodDescriptor
  /// The caller's custom metadata.
  package let metadata: Metadata
  /// The caller's address in gRPC's naming, `ipv4:127.0.0.1:5000` or `unix:/path` for example.
  package let peer: String
  /// Who the caller is by its TLS certificate; nil without one.
  package let identity: PeerIdentity?
  /// When the caller stops waiting. The transport cancels the handler's task at that time.
  package let deadline: Deadline?

  /// Whether the responses of a call are compressed. The caller has to accept it, and messages
  /// below the server's threshold never are.
  package enum ResponseCompression: Sendable {
    /// Like the request.
    case automatic
    case on
    case off
  }

  /// What is sent beside the messages, and what interceptors found out.
  package struct State: Sendable {
    package var correlation: CorrelationID
    package var trace: TraceContext?
    package var isRequestCompressed = false
    package var responseCompression = ResponseCompression.automatic
    package var initialMetadata = Metadata()
    package var trailingMetadata = Metadata()
  }
  private let state: Mutex<State>

  package init(
    method: MethodDescriptor, metadata: Metadata = [:], peer: String = "",
    identity: PeerIdentity? = nil, deadline: Deadline? = nil, correlation: CorrelationID = .none
  ) {
    self.method = method
    self.metadata = metadata
    self.peer = peer
    self.identity = identity
    self.deadline = deadline
    state = Mutex(State(correlation: correlation))
  }

  /// The call that the current task serves, if it serves one and its server binds it: see
  /// ``ServerInterceptor/propagation()``.
  @TaskLocal package static var current: ServerContext?

  /// All that may change, read at once.
  package var snapshot: State { state.withLock { $0 } }

  /// The call's correlation id: taken from `x-correlation-id`, or made.
  package var correlation: CorrelationID {
    get { state.withLock { $0.correlation } }
    set { state.withLock { $0.correlation = newValue } }
  }

  /// The correlation id as text.
  package var correlationID: String { correlation.text }

  /// The call's span in the caller's trace; nil when the caller sent no `traceparent`.
  package var trace: TraceContext? {
    get { state.withLock { $0.trace } }
    set { state.withLock { $0.trace = newValue } }
  }

  /// Whether the message that the handler took last came compressed.
  package var isRequestCompressed: Bool {
    get { state.withLock { $0.isRequestCompressed } }
    set { state.withLock { $0.isRequestCompressed = newValue } }
  }

  /// Whether responses are compressed: set it before the first message is written; from then on
  /// it can be switched off, and on again, for single messages.
  package var responseCompression: ResponseCompression {
    get { state.withLock { $0.responseCompression } }
    set { state.withLock { $0.responseCompression = newValue } }
  }

  /// Metadata sent ahead of the first message. Set it before the first message is written;
  /// later changes are not sent.
  package var initialMetadata: Metadata {
    get { state.withLock { $0.initialMetadata } }
    set { state.withLock { $0.initialMetadata = newValue } }
  }

  /// Whether there is any, without copying it.
  package var hasInitialMetadata: Bool { state.withLock { !$0.initialMetadata.isEmpty } }

  /// What the trailers carry beside the status.
  package var closing: (correlation: CorrelationID, trailingMetadata: Metadata) {
    state.withLock { ($0.correlation, $0.trailingMetadata) }
  }

  /// Metadata sent with the status.
  package var trailingMetadata: Metadata {
    get { state.withLock { $0.trailingMetadata } }
    set { state.withLock { $0.trailingMetadata = newValue } }
  }
}
