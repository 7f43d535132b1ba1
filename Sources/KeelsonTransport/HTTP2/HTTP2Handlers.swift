/// What hears of a connection's own events. Called on the connection's loop, never while
/// nghttp2 works, so it may call anything on the connection or its streams.
package protocol HTTP2ConnectionHandler: AnyObject {
  /// Server only, and while nghttp2 works, so nothing may be done but to record it: the headers of
  /// a request are complete; the connection's ``HTTP2RequestRecorder`` has them. Set
  /// `stream.handler` to hear the rest.
  ///
  /// - Parameter isTooLarge: the header list is over the limit; fields beyond it were left out.
  func connection(
    _ connection: HTTP2Connection, recordsRequestOn stream: HTTP2Stream, isTooLarge: Bool)

  /// The peer's SETTINGS have come: the first time, the connection is ready; each time,
  /// ``HTTP2Connection/availableStreams`` may have changed.
  func connectionReceivedSettings(_ connection: HTTP2Connection)

  /// The peer accepts no new streams; those above `lastStreamID` it has not looked at, and they
  /// are closed with REFUSED_STREAM next. A graceful shutdown may bring this twice.
  func connection(
    _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
    lastStreamID: Int32, debugText: String)

  /// A stream has closed: ``HTTP2Connection/availableStreams`` has grown.
  func connectionClosedStream(_ connection: HTTP2Connection)

  /// The connection has ended, and all its streams have been closed before this. The last event.
  func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason)
}

/// Reads the headers of requests where nghttp2 has them, so that they need not be copied and kept.
/// Called while nghttp2 works, so it does nothing but record. An object of its own, which knows
/// neither the connection nor its handler, so that the connection may hold it as a constant.
package protocol HTTP2RequestRecorder: AnyObject {
  /// The headers of a request begin to arrive. What came of those before, and was never complete,
  /// is void.
  func begin()

  /// A field of the request whose headers are arriving.
  func record(_ name: Span<UInt8>, _ value: Span<UInt8>)
}

/// What hears of one stream's events, in this order: headers, data, trailers, end, closed. Called
/// on the connection's loop, never while nghttp2 works.
package protocol HTTP2StreamHandler: AnyObject {
  /// Server only: the request's headers have come. Answer with
  /// ``HTTP2Stream/sendHeaders(_:endStream:)``, now or later.
  func streamBegan(_ stream: HTTP2Stream)

  /// Client only: the response's headers have come (1xx responses are left out). If the response
  /// has nothing else, `streamReceivedEnd` follows at once: "trailers only".
  func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool)

  /// Body bytes have come: what one DATA frame held, or a part of it. They count against the
  /// peer's window until they are given to ``HTTP2Stream/consume(_:)``, at once or as they are
  /// processed.
  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>)

  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool)

  /// The peer has sent all of its side.
  func streamReceivedEnd(_ stream: HTTP2Stream)

  /// ``HTTP2Stream/isWritable`` has become true again.
  func streamBecameWritable(_ stream: HTTP2Stream)

  /// The stream is gone; the last event. `noError` after both sides ended in order (or the
  /// server ended early with NO_ERROR), otherwise the code of the RST_STREAM sent or received,
  /// REFUSED_STREAM when a GOAWAY passed it over.
  ///
  /// - Parameter connectionReason: why the connection ended, if that is what closed the stream.
  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?)
}

extension HTTP2ConnectionHandler {
  package func connection(
    _ connection: HTTP2Connection, recordsRequestOn stream: HTTP2Stream, isTooLarge: Bool
  ) {}
}

extension HTTP2StreamHandler {
  package func streamBegan(_ stream: HTTP2Stream) {}

  package func stream(
    _ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool
  ) {}
}
