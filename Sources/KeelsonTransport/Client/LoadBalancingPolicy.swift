/// How a channel deals with several addresses.
/// Source: grpc/grpc `doc/load-balancing.md`, gRFC A61.
public enum LoadBalancingPolicy: Sendable, Hashable {
  /// One connection, to the first address that answers; the others are tried when it does not, and
  /// when the connection is lost.
  case pickFirst
  /// A connection to each address; calls take them in turn.
  case roundRobin
}
