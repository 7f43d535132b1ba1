/// A case that a client has to pass. What each sends and expects is the upstream description's:
/// grpc/grpc `doc/interop-test-descriptions.md` and `doc/http2-interop-test-descriptions.md`.
struct InteropCase: Sendable {
  let name: String
  /// Throws when the case fails.
  let run: @Sendable (InteropPeer) async throws -> Void

  /// The cases of a well-behaved server, then those of a server that misbehaves in the way of the
  /// case's name.
  static let all: [InteropCase] = unary + streaming + compression + endings + http2
}
