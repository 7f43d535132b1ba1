/// The outcome of a call that did not succeed: a gRPC status that is not OK.
///
/// Thrown by handlers on the server, where it becomes the call's status, and by calls on the
/// client, where it is the status the server (or the channel itself) gave.
public struct RPCError: Error, Sendable, Hashable {
  /// What kind of failure it is.
  public var code: Code
  /// A sentence for the developer who reads it: what is wrong and what to do. It reaches the
  /// peer, so nothing internal (SQL, paths, secrets) stands in it.
  public var message: String
  /// Typed details, sent as `google.rpc.Status` in `grpc-status-details-bin`.
  public var details: [ErrorDetail]
  /// Trailing metadata sent with (or received with) the status.
  public var metadata: Metadata
  /// The serialized `google.rpc.Status`, where it has been encoded or was received.
  public var encodedStatus: [UInt8]?
  /// What led to this failure, for the log of this process only; never sent.
  public var cause: String?

  public init(
    _ code: Code, _ message: String, details: [ErrorDetail] = [], metadata: Metadata = [:],
    cause: String? = nil
  ) {
    self.code = code
    self.message = message
    self.details = details
    self.metadata = metadata
    self.cause = cause
  }

  /// A gRPC status code. Source: grpc/grpc `doc/statuscodes.md`.
  public struct Code: Sendable, Hashable, RawRepresentable, CustomStringConvertible {
    public let rawValue: Int

    /// Any number a peer sends; numbers without a name are read as ``unknown``'s kin and kept.
    public init(rawValue: Int) {
      self.rawValue = rawValue
    }

    public static let ok = Code(rawValue: 0)
    public static let cancelled = Code(rawValue: 1)
    public static let unknown = Code(rawValue: 2)
    public static let invalidArgument = Code(rawValue: 3)
    public static let deadlineExceeded = Code(rawValue: 4)
    public static let notFound = Code(rawValue: 5)
    public static let alreadyExists = Code(rawValue: 6)
    public static let permissionDenied = Code(rawValue: 7)
    public static let resourceExhausted = Code(rawValue: 8)
    public static let failedPrecondition = Code(rawValue: 9)
    public static let aborted = Code(rawValue: 10)
    public static let outOfRange = Code(rawValue: 11)
    public static let unimplemented = Code(rawValue: 12)
    public static let internalError = Code(rawValue: 13)
    public static let unavailable = Code(rawValue: 14)
    public static let dataLoss = Code(rawValue: 15)
    public static let unauthenticated = Code(rawValue: 16)

    private static let names = [
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
      "UNAUTHENTICATED",
    ]

    /// The name as the protocol's documents write it, `NOT_FOUND` for example.
    public var description: String {
      Code.names.indices.contains(rawValue) ? Code.names[rawValue] : "CODE_\(rawValue)"
    }
  }
}

extension RPCError: CustomStringConvertible {
  public var description: String {
    message.isEmpty ? code.description : "\(code): \(message)"
  }
}

extension RPCError {
  /// The error for a value in a request that breaks a rule.
  ///
  /// - Parameters:
  ///   - field: the field's path in the request, `flag.key` for example.
  ///   - rule: what is wrong with it and what would be right, a clause without the field's name.
  public static func invalidArgument(field: String, _ rule: String) -> RPCError {
    RPCError(
      .invalidArgument, "\(field): \(rule)",
      details: [.badRequest([FieldViolation(field: field, description: rule)])])
  }
}
