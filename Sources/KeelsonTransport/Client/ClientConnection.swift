/// The client's ear at a connection: tells whoever owns the connection at the time what happens
/// to it. Confined to its loop.
final class ClientConnection: HTTP2ConnectionHandler {
  enum Event {
    /// The server has spoken HTTP/2: calls may begin.
    case ready
    /// The server takes no new calls.
    case goingAway(HTTP2ErrorCode, debugText: String)
    /// It has ended; the last event.
    case closed(HTTP2CloseReason)
  }

  /// Replaced when the connection goes from the attempt that made it to the channel.
  var onEvent: (Event) -> Void

  init(onEvent: @escaping (Event) -> Void) {
    self.onEvent = onEvent
  }

  private var isReady = false

  func connectionReceivedSettings(_ connection: HTTP2Connection) {
    guard !isReady else { return }
    isReady = true
    onEvent(.ready)
  }

  func connection(
    _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
    lastStreamID: Int32, debugText: String
  ) {
    onEvent(.goingAway(errorCode, debugText: debugText))
  }

  func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason) {
    let onEvent = onEvent
    // Nothing comes after this; what the closure holds may go.
    self.onEvent = { _ in }
    onEvent(.closed(reason))
  }

  func connectionClosedStream(_ connection: HTTP2Connection) {}
}
