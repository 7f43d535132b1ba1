/// A method of a service: its names and how many messages go each way.
public struct MethodDescriptor: Sendable, Hashable {
  /// The full service name, `keelson.flags.v1.FlagService` for example.
  public let service: String
  /// The method's name, `CreateFlag` for example.
  public let name: String
  public let kind: CallKind
  /// Whether a call may be repeated without changing the outcome (`idempotency_level`).
  public let isIdempotent: Bool
  /// The HTTP/2 `:path`: `/service/name`.
  public let path: String

  public init(service: String, name: String, kind: CallKind, isIdempotent: Bool = false) {
    self.service = service
    self.name = name
    self.kind = kind
    self.isIdempotent = isIdempotent
    self.path = "/\(service)/\(name)"
  }
}

/// How many messages go each way in a call.
public enum CallKind: Sendable, Hashable {
  case unary
  case clientStreaming
  case serverStreaming
  case bidirectional
}
