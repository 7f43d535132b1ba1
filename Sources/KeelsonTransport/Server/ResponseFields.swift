import KeelsonCore

/// The header blocks of a response. Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Responses".
enum ResponseFields {
  /// The headers ahead of the first message, when nothing else is to be said in them.
  static let plainInitial: HTTP2Fields = {
    var fields = HTTP2Fields()
    fields.append(":status", "200")
    fields.append("content-type", "application/grpc")
    return fields
  }()

  /// The same for a client that speaks of encodings.
  private static let negotiatingInitial: HTTP2Fields = {
    var fields = plainInitial
    fields.append("grpc-accept-encoding", MessageEncoding.accepted)
    return fields
  }()

  /// How much of what a handler says is sent; see ``ServerConfiguration``.
  struct Limits {
    let messageBytes: Int
    let detailsBytes: Int
    let headerListBytes: Int

    init(_ configuration: ServerConfiguration) {
      messageBytes = configuration.maximumStatusMessageBytes
      detailsBytes = configuration.maximumStatusDetailsBytes
      headerListBytes = configuration.http2.maximumHeaderListBytes
    }
  }

  /// A response without any gRPC in it, for a request that has none either.
  static func plain(status: String, allow: String? = nil) -> HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append(":status", status)
    fields.append("content-length", "0")
    if let allow { fields.append("allow", allow) }
    return fields
  }

  /// A status without a call, for a request whose headers cannot be read.
  static func refusal(_ error: RPCError, httpStatus: String, limits: Limits) -> HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append(":status", httpStatus)
    fields.append("content-type", "application/grpc")
    fields.append("grpc-status", String(error.code.rawValue))
    append(message: error.message, to: &fields, limits)
    if let status = error.encodedStatus, status.count <= limits.detailsBytes {
      fields.append("grpc-status-details-bin", Base64.encode(status.span), isIndexed: false)
    }
    return fields
  }

  /// The headers ahead of the first message.
  ///
  /// - Parameters:
  ///   - namesEncodings: whether the client is told which encodings it may use.
  ///   - isGzip: whether some messages may be compressed.
  static func initial(
    _ context: ServerContext, namesEncodings: Bool, isGzip: Bool, _ logger: Logger, limitBytes: Int
  ) -> HTTP2Fields {
    let metadata = context.initialMetadata
    var fields = namesEncodings ? negotiatingInitial : plainInitial
    if isGzip { fields.append("grpc-encoding", MessageEncoding.gzip.rawValue) }
    guard !metadata.isEmpty else { return fields }
    append(metadata, to: &fields, context, logger, limitBytes: limitBytes)
    return fields
  }

  /// How a call ended, in the form it is sent.
  struct Status {
    let error: RPCError?
    let context: ServerContext
    let namesEncodings: Bool
    let limits: Limits

    /// - Parameter empty: where to put them.
    func trailers(in empty: consuming HTTP2Fields, _ logger: Logger) -> HTTP2Fields {
      var fields = empty
      appendStatus(to: &fields, logger)
      appendRest(to: &fields, logger)
      return fields
    }

    func trailersOnly(_ logger: Logger) -> HTTP2Fields {
      var fields = namesEncodings ? negotiatingInitial : plainInitial
      appendStatus(to: &fields, logger)
      appendRest(to: &fields, logger)
      return fields
    }

    private func appendStatus(to fields: inout HTTP2Fields, _ logger: Logger) {
      guard let error else { return fields.append("grpc-status") { $0.append(UInt8(ascii: "0")) } }
      fields.append("grpc-status", String(error.code.rawValue))
      if !error.message.isEmpty { append(message: error.message, to: &fields, limits) }
      guard let status = error.encodedStatus else { return }
      if status.count <= limits.detailsBytes {
        fields.append("grpc-status-details-bin", Base64.encode(status.span), isIndexed: false)
      } else {
        logger.log(
          .warning,
          "A status went out without its details: they have \(status.count) bytes, over the limit "
            + "of \(limits.detailsBytes).", ["method": context.method.path],
          correlationID: context.correlationID)
      }
    }

    private func appendRest(to fields: inout HTTP2Fields, _ logger: Logger) {
      let (correlation, metadata) = context.closing
      // Ahead of the metadata, which must leave room for it.
      append(correlation, to: &fields)
      let limitBytes = limits.headerListBytes
      if let error, !error.metadata.isEmpty {
        append(error.metadata, to: &fields, context, logger, limitBytes: limitBytes)
      }
      if !metadata.isEmpty {
        append(metadata, to: &fields, context, logger, limitBytes: limitBytes)
      }
    }
  }

  private static func append(message: String, to fields: inout HTTP2Fields, _ limits: Limits) {
    let message = String(decoding: message.utf8.prefix(limits.messageBytes), as: UTF8.self)
    fields.append("grpc-message", StatusMessage.encode(message), isIndexed: false)
  }

  private static func append(_ correlation: CorrelationID, to fields: inout HTTP2Fields) {
    if case .none = correlation { return }
    fields.append("x-correlation-id", isIndexed: false) { correlation.append(to: &$0) }
  }

  /// Metadata that cannot be sent is our own handler's mistake: it is left out and logged, the
  /// status still reaches the caller.
  private static func append(
    _ metadata: Metadata, to fields: inout HTTP2Fields, _ context: ServerContext, _ logger: Logger,
    limitBytes: Int
  ) {
    var encoded = fields
    do throws(RPCError) {
      try MetadataCodec.encode(metadata) { name, value in
        encoded.append(name, value, isIndexed: false)
      }
      guard encoded.listBytes <= limitBytes else {
        throw RPCError(
          .internalError,
          "The header list would have \(encoded.listBytes) bytes, "
            + "over the limit of \(limitBytes).")
      }
      fields = encoded
    } catch {
      logger.log(
        .error, "Metadata was left out: \(error.message)", ["method": context.method.path],
        correlationID: context.correlationID)
    }
  }
}
