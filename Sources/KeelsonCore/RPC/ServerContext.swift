import Synchronization

/// What a handler knows of the call it serves, and the metadata it sends back.
package final class ServerContext: Sendable {
  package let method: MethodDescriptor
  /// The caller's custom metadata.
  package let metadata: Metadata
  /// The caller's address in gRPC's naming, `ipv4:127.0.0.1:5000` or `unix:/path` for example.
  package let peer: String
  /// When the caller stops waiting. The transport cancels the handler's task at that time.
  package let deadline: Deadline?
  /// The call's correlation id: taken from `x-correlation-id`, or made.
  package let correlation: CorrelationID
  /// The correlation id as text.
  package var correlationID: String { correlation.text }

  private struct Reply {
    var initialMetadata = Metadata()
    var trailingMetadata = Metadata()
  }
  private let reply = Mutex(Reply())

  package convenience init(
    method: MethodDescriptor, metadata: Metadata = [:], peer: String = "",
    deadline: Deadline? = nil,
    correlationID: String = ""
  ) {
    self.init(
      method: method, metadata: metadata, peer: peer, deadline: deadline,
      correlation: .given(correlationID))
  }

  package init(
    method: MethodDescriptor, metadata: Metadata, peer: String, deadline: Deadline?,
    correlation: CorrelationID
  ) {
    self.method = method
    self.metadata = metadata
    self.peer = peer
    self.deadline = deadline
    self.correlation = correlation
  }

  /// Metadata sent ahead of the first message. Set it before the first message is written;
  /// later changes are not sent.
  package var initialMetadata: Metadata {
    get { reply.withLock { $0.initialMetadata } }
    set { reply.withLock { $0.initialMetadata = newValue } }
  }

  /// Metadata sent with the status.
  package var trailingMetadata: Metadata {
    get { reply.withLock { $0.trailingMetadata } }
    set { reply.withLock { $0.trailingMetadata = newValue } }
  }
}
