/// Bytes to and from a peer, without waiting: the seam between a socket and the session on top.
///
/// A socket is one; what encrypts stands between a socket and a session as another. Confined to
/// its loop.
package protocol ByteStream: AnyObject {
  /// The peer's address in gRPC's naming, `ipv4:127.0.0.1:5000` for example.
  var peer: String { get }

  /// Begins to tell the observer when there is something to read, or room to write. The observer
  /// is not kept alive; it calls ``close()`` before it goes.
  func start(observer: any ByteStreamObserver)

  /// Reads what is there, at most as much as there is room for.
  func read(into room: UnsafeMutableRawBufferPointer) -> ByteStreamResult

  /// Writes as much as fits.
  func write(_ bytes: UnsafeRawBufferPointer) -> ByteStreamResult

  /// Whether the observer wants to be told of room to write. True after a write that did not
  /// take everything, false again once all is written.
  var isAwaitingRoom: Bool { get set }

  /// Whether bytes that a write took wait here for room. The observer, if it awaits room, is told
  /// as it goes; until none are held nothing more is taken.
  var isHoldingBytes: Bool { get }

  /// Ends both directions; the observer hears nothing more. Calling it again does nothing.
  func close()

  /// Like ``close()``, and what was written and not delivered yet is dropped. The system would
  /// otherwise keep it for a peer that does not read, and keep trying.
  func abort()
}

/// What hears of a ``ByteStream``'s readiness, on its loop.
package protocol ByteStreamObserver: AnyObject {
  func byteStreamIsReadable()
  func byteStreamIsWritable()
}

/// What a read or write came to.
package enum ByteStreamResult {
  /// This many bytes, at least one, were read or written.
  case bytes(Int)
  /// Nothing now; the observer will be told.
  case wouldBlock
  /// The peer sends no more.
  case ended
  /// The connection is broken.
  case failed(SocketError)
}
