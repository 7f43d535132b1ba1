/// Something that is read with GET over HTTP/2, without gRPC: metrics for Prometheus, say.
package struct PlainRoute: Sendable {
  /// The whole `:path`, `/metrics` for example.
  package let path: String
  package let contentType: String
  /// Makes the body; called on the connection's loop, so it must not block.
  package let body: @Sendable () -> [UInt8]

  package init(path: String, contentType: String, body: @escaping @Sendable () -> [UInt8]) {
    self.path = path
    self.contentType = contentType
    self.body = body
  }

  /// Answers a request.
  func serve(_ stream: HTTP2Stream) {
    let body = body()
    var fields = HTTP2Fields()
    fields.append(":status", "200")
    fields.append("content-type", contentType)
    fields.append("content-length", String(body.count))
    stream.sendHeaders(fields)
    stream.send(OutgoingMessage(unframed: body))
    stream.finish()
  }
}

/// A request that is no gRPC call: it is answered as soon as its headers have come, and whatever
/// else comes is dropped.
final class PlainRequest: HTTP2StreamHandler {
  private let respond: (HTTP2Stream) -> Void

  init(respond: @escaping (HTTP2Stream) -> Void) {
    self.respond = respond
  }

  func streamBegan(_ stream: HTTP2Stream) { respond(stream) }

  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
    stream.consume(bytes.count)
  }

  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {}

  func streamReceivedEnd(_ stream: HTTP2Stream) {}

  func streamBecameWritable(_ stream: HTTP2Stream) {}

  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {}
}
