/// What hears of a connection's own events. Called on the connection's loop, never while
/// nghttp2 works, so it may call anything on the connection or its streams.
package protocol HTTP2ConnectionHandler: AnyObject {
  /// Server only: a request's headers have come. Set `stream.handler` now to hear the rest, and
  /// answer with ``HTTP2Stream/sendHeaders(_:endStream:)``, now or later.
  ///
  /// - Parameter isTooLarge: the header list is over the limit; `fields` holds what came before
  ///   the limit was reached.
  func connection(
    _ connection: HTTP2Connection, received request: HTTP2Fields, isTooLarge: Bool,
    on stream: HTTP2Stream)

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

/// What hears of one stream's events, in this order: headers, data, trailers, end, closed. Called
/// on the connection's loop, never while nghttp2 works.
package protocol HTTP2StreamHandler: AnyObject {
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
