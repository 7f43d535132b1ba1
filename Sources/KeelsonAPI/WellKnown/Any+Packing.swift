public import KeelsonCore

extension GoogleProtobuf.`Any` {
  /// Packs a message under the type URL `type.googleapis.com/<full name>`.
  public init<M: Message>(packing message: M) {
    self.init(typeUrl: "type.googleapis.com/\(M.fullName)", value: message.encoded())
  }

  /// Whether it holds a message of this type. Only what follows the last slash of the URL counts.
  public func holds<M: Message>(_ type: M.Type) -> Bool {
    guard let slash = typeUrl.lastIndex(of: "/") else { return false }
    return typeUrl[typeUrl.index(after: slash)...] == M.fullName
  }

  /// The message it holds.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when it is of another type or cannot be
  ///   decoded.
  public func unpack<M: Message>(as type: M.Type, limits: DecodingLimits = .standard)
    throws(RPCError) -> M
  {
    guard holds(type) else {
      throw RPCError(
        .invalidArgument, "google.protobuf.Any: holds \"\(typeUrl)\", not a \(M.fullName).")
    }
    return try M(decoding: value, limits: limits)
  }
}
