/// What a channel's connection is doing.
/// Source: grpc/grpc `doc/connectivity-semantics-and-api.md`.
public enum ConnectivityState: Sendable, Hashable {
  /// There is no connection and nobody has asked for one; the next call does.
  case idle
  /// A connection is being made.
  case connecting
  /// There is a connection.
  case ready
  /// Connecting failed; the channel waits a while and tries again. Calls fail at once, unless
  /// they wait for ready.
  case transientFailure
  /// The channel was shut down.
  case shutdown
}
