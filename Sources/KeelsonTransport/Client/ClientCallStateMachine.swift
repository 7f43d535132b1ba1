package import KeelsonCore

/// Reads the response of one call: header blocks, data and the ways a stream may end come in,
/// metadata, messages and the call's end go out. There is no I/O in here.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Responses" and "Errors".
///
/// Whatever arrives after the end is silently dropped: it was on its way already.
package struct ClientCallStateMachine: Sendable {
  /// What a complete header block means.
  package enum Block: Sendable, Hashable {
    /// Nothing to tell: an informational response, or the call has ended already.
    case nothing
    /// The metadata ahead of the messages.
    case head(Metadata)
    /// The call has ended. If the stream has not, it is to be reset with CANCEL.
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
    var metadata = Metadata()

    mutating func add(_ name: Span<UInt8>, _ value: Span<UInt8>) {
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
      } else {
        MetadataCodec.add(name: name, value: value, to: &metadata)
      }
    }
  }

  private var state = State.awaitingHead
  private var deframer: MessageDeframer

  package init(maximumMessageBytes: Int) {
    deframer = MessageDeframer(maximumMessageBytes: maximumMessageBytes)
  }

  package var hasEnded: Bool {
    if case .ended = state { true } else { false }
  }

  // MARK: Header blocks

  /// A header block: the response's head, or its trailers.
  ///
  /// - Parameter endsStream: whether nothing follows it.
  package mutating func headers(_ received: HTTP2Fields, endsStream: Bool) -> Block {
    if hasEnded { return .nothing }
    var block = Fields()
    received.forEach { name, value in block.add(name, value) }
    switch state {
    case .ended:
      return .nothing
    case .messages:
      guard endsStream else { return end(.internalError, "The server sent headers twice.") }
      return end(status(of: block, message: "The server's trailers have no grpc-status."))
    case .awaitingHead:
      if let status = block.httpStatus, (100...199).contains(status), !endsStream {
        return .nothing
      }
      if endsStream, block.hasStatus { return end(status(of: block, message: "")) }
      guard block.httpStatus == 200 else {
        let status = block.httpStatus.map(String.init) ?? "no status"
        return end(
          RPCError.Code(httpStatus: block.httpStatus ?? 0),
          "The server answered with HTTP \(status), which is not a gRPC response.")
      }
      guard block.isGRPC else {
        return end(
          .unknown,
          "The server answered with content-type \"\(block.contentType)\", which is not gRPC's.")
      }
      guard !endsStream else {
        return end(.unknown, "The server ended the call without a grpc-status.")
      }
      state = .messages
      return .head(block.metadata)
    }
  }

  private func status(of block: Fields, message: String) -> CallEnd {
    guard block.hasStatus else {
      return .failed(RPCError(.unknown, message, metadata: block.metadata))
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
  /// - Returns: the call's end, if this piece breaks a rule; the stream is then to be reset.
  package mutating func data(
    _ piece: Span<UInt8>, deliver: (_ message: [UInt8]) -> Void
  ) -> CallEnd? {
    switch state {
    case .ended: return nil
    case .awaitingHead: return failed(.internalError, "The server sent data ahead of headers.")
    case .messages: break
    }
    var isCompressed = false
    do throws(RPCError) {
      try deframer.read(piece) { message, compressed in
        if compressed { isCompressed = true }
        if !isCompressed { deliver(message) }
      }
    } catch {
      return failed(error.code, error.message)
    }
    guard !isCompressed else {
      return failed(
        .internalError, "The server sent a compressed message; this client accepts none.")
    }
    return nil
  }

  // MARK: Ends

  /// The server ended the stream with a data frame, so without trailers.
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

  private mutating func end(_ code: RPCError.Code, _ message: String) -> Block {
    .end(failed(code, message))
  }

  private mutating func end(_ end: CallEnd) -> Block {
    state = .ended
    return .end(end)
  }
}
