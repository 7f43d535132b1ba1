/// A method of a service: its names and how many messages go each way.
public struct MethodDescriptor: Sendable, Hashable {
  /// In an object of its own, since descriptors are handed on with each call: one reference to
  /// count instead of one for each name.
  private final class Storage: Sendable {
    let service: String
    let name: String
    let kind: CallKind
    let isIdempotent: Bool
    let path: String

    init(_ service: String, _ name: String, _ kind: CallKind, _ isIdempotent: Bool) {
      self.service = service
      self.name = name
      self.kind = kind
      self.isIdempotent = isIdempotent
      path = "/\(service)/\(name)"
    }
  }

  private let storage: Storage

  /// The full service name, `keelson.flags.v1.FlagService` for example.
  public var service: String { storage.service }
  /// The method's name, `CreateFlag` for example.
  public var name: String { storage.name }
  public var kind: CallKind { storage.kind }
  /// Whether a call may be repeated without changing the outcome (`idempotency_level`).
  public var isIdempotent: Bool { storage.isIdempotent }
  /// The HTTP/2 `:path`: `/service/name`.
  public var path: String { storage.path }

  public init(service: String, name: String, kind: CallKind, isIdempotent: Bool = false) {
    storage = Storage(service, name, kind, isIdempotent)
  }

  public static func == (lhs: MethodDescriptor, rhs: MethodDescriptor) -> Bool {
    lhs.storage === rhs.storage
      || lhs.path == rhs.path && lhs.kind == rhs.kind && lhs.isIdempotent == rhs.isIdempotent
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(path)
  }
}

/// How many messages go each way in a call.
public enum CallKind: Sendable, Hashable {
  case unary
  case clientStreaming
  case serverStreaming
  case bidirectional
}
