package import KeelsonCore

/// Reads the response of one call: header blocks, data and the ways a stream may end come in,
/// metadata, messages and the call's end go out. There is no I/O in here.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Responses" and "Errors".
///
/// Whatever arrives after the end is silently dropped: it was on its way already.
package struct ClientCallStateMachine: Sendable {
  /// What the head of a response means.
  package enum Head: Sendable, Hashable {
    /// Messages may follow this metadata.
    case metadata(Metadata)
    /// The call has ended. If the stream has not, it is to be reset.
    case end(CallEnd)
  }

  private enum State: Sendable {
    /// Can transition to: messages, ended.
    case awaitingHead
    /// Can transition to: ended.
    case messages
    case ended
  }

  /// What a header block says.
  private struct Fields {
    var httpStatus: Int?
    var isGRPC = false
    var contentType = ""
    var status: RPCError.Code?
    var hasStatus = false
    var message = ""
    var encodedStatus: [UInt8]?
    var retryPushback: String?
    var encoding = MessageEncoding.identity
    /// The `grpc-encoding`, if it is none that is known.
    var strangeEncoding: String?
    var metadata = Metadata()

    init(_ received: HTTP2Fields) {
      received.forEach({ add($0, $1) })
    }

    private mutating func add(_ name: Span<UInt8>, _ value: Span<UInt8>) {
      if name.equals(":status") {
        httpStatus = Int(String(repairing: value))
      } else if name.equals("content-type") {
        isGRPC = ContentType.isGRPC(value)
        contentType = String(repairing: value)
      } else if name.equals("grpc-status") {
        hasStatus = true
        status = RPCError.Code(grpcStatus: value)
      } else if name.equals("grpc-message") {
        message = StatusMessage.decode(value)
      } else if name.equals("grpc-status-details-bin") {
        encodedStatus = Base64.decode(value)
      } else if name.equals("grpc-retry-pushback-ms") {
        retryPushback = String(repairing: value)
      } else if name.equals("grpc-encoding") {
        if let known = MessageEncoding(named: value) {
          encoding = known
        } else {
          strangeEncoding = String(repairing: value)
        }
      } else {
        MetadataCodec.add(name: name, value: value, to: &metadata)
      }
    }
  }

  private var state = State.awaitingHead
  private var deframer: MessageDeframer
  private var encoding = MessageEncoding.identity
  /// The `grpc-retry-pushback-ms` that came with the status. Source: gRFC A6.
  package private(set) var retryPushback: String?

  package init(maximumMessageBytes: Int) {
    deframer = MessageDeframer(maximumMessageBytes: maximumMessageBytes)
  }

  package var hasEnded: Bool {
    if case .ended = state { true } else { false }
  }

  // MARK: Header blocks

  /// The headers ahead of everything else. With a grpc-status in them they are all there is:
  /// "Trailers-Only".
  ///
  /// - Returns: nil after the end.
  package mutating func head(_ received: HTTP2Fields) -> Head? {
    if hasEnded { return nil }
    let block = Fields(received)
    if block.hasStatus {
      state = .ended
      return .end(status(of: block))
    }
    guard block.httpStatus == 200 else {
      let status = block.httpStatus.map(String.init) ?? "no status"
      return .end(
        failed(
          RPCError.Code(httpStatus: block.httpStatus ?? 0),
          "The server answered with HTTP \(status), which is not a gRPC response."))
    }
    guard block.isGRPC else {
      return .end(
        failed(
          .unknown,
          "The server answered with content-type \"\(block.contentType)\", which is not gRPC's."))
    }
    if let name = block.strangeEncoding {
      return .end(
        failed(
          .internalError,
          "The server encodes its messages with \"\(name)\", which is none of those that this "
            + "client accepts: \(MessageEncoding.accepted)."))
    }
    encoding = block.encoding
    state = .messages
    return .metadata(block.metadata)
  }

  /// The headers behind everything else; nil after the end.
  package mutating func trailers(_ received: HTTP2Fields) -> CallEnd? {
    if hasEnded { return nil }
    state = .ended
    return status(of: Fields(received))
  }

  private mutating func status(of block: Fields) -> CallEnd {
    retryPushback = block.retryPushback
    guard block.hasStatus else {
      return .failed(
        RPCError(.unknown, "The server's trailers have no grpc-status.", metadata: block.metadata))
    }
    guard let code = block.status else {
      return .failed(
        RPCError(.unknown, "The server's grpc-status is no number.", metadata: block.metadata))
    }
    guard code == .ok else {
      var error = RPCError(code, block.message, metadata: block.metadata)
      error.encodedStatus = block.encodedStatus
      return .failed(error)
    }
    guard !deframer.isInsideMessage else {
      return .failed(
        RPCError(.internalError, "The server ended the call in the middle of a message."))
    }
    return .ok(block.metadata)
  }

  // MARK: Data

  /// A piece of the body.
  ///
  /// - Parameters:
  ///   - inflate: gives back a gzipped message as it was, or throws why it cannot.
  ///   - deliver: takes each message.
  /// - Returns: the call's end, if this piece breaks a rule; the stream is then to be reset.
  package mutating func data(
    _ piece: Span<UInt8>,
    inflate: (_ message: [UInt8], _ maximumBytes: Int) throws(RPCError) -> [UInt8],
    deliver: (_ message: [UInt8]) -> Void
  ) -> CallEnd? {
    switch state {
    case .ended: return nil
    case .awaitingHead: return failed(.internalError, "The server sent data ahead of headers.")
    case .messages: break
    }
    var failure: RPCError?
    let (encoding, limit) = (encoding, deframer.maximumMessageBytes)
    do throws(RPCError) {
      try deframer.read(piece) { message, isCompressed in
        guard failure == nil else { return }
        guard isCompressed else { return deliver(message) }
        do throws(RPCError) {
          guard encoding == .gzip else {
            throw RPCError(
              .internalError, "The server sent a compressed message without a grpc-encoding.")
          }
          deliver(try inflate(message, limit))
        } catch {
          failure = error
        }
      }
    } catch {
      failure = failure ?? error
    }
    return failure.map { failed($0.code, $0.message) }
  }

  // MARK: Ends

  /// The server ended the stream; trailers should have come before that.
  package mutating func endOfStream() -> CallEnd? {
    guard !hasEnded else { return nil }
    return failed(.internalError, "The server ended the call without trailers.")
  }

  /// The server reset the stream.
  ///
  /// - Parameter deadlineHasPassed: a server whose own timer is ahead of ours resets with CANCEL.
  package mutating func reset(errorCode: HTTP2ErrorCode, deadlineHasPassed: Bool) -> CallEnd? {
    guard !hasEnded else { return nil }
    if errorCode == .cancel, deadlineHasPassed {
      state = .ended
      return .failed(.deadlinePassed)
    }
    return failed(
      RPCError.Code(http2ErrorCode: errorCode.rawValue),
      "The server reset the call with HTTP/2 error \(errorCode).")
  }

  /// The call ends for a reason of this side's: cancelled, too late, the connection is gone.
  package mutating func abandon(_ error: RPCError) -> CallEnd? {
    guard !hasEnded else { return nil }
    state = .ended
    return .failed(error)
  }

  private mutating func failed(_ code: RPCError.Code, _ message: String) -> CallEnd {
    state = .ended
    return .failed(RPCError(code, message))
  }

}
