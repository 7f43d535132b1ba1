/// Decides when the server gets back the room that a response's bytes take up in its window:
/// at once while the reader keeps up, and only after the reader has caught up when it does not.
///
/// So a reader that is fast costs nothing, and one that stops holds at most its queue, one window
/// and the message that is arriving.
///
/// `@unchecked Sendable`: confined to its loop, but for ``queueHasRoom()``.
final class ReceiveCredit: @unchecked Sendable {
  private let loop: Loop
  weak var stream: HTTP2Stream?
  /// Whether the reader's queue is full.
  var isWithheld = false
  private var withheldBytes = 0

  init(loop: Loop) {
    self.loop = loop
  }

  /// This many bytes came, and what they completed stands in the queue.
  func received(_ bytes: Int) {
    withheldBytes += bytes
    if !isWithheld { release() }
  }

  /// The reader has made room in a queue that was full. On any thread.
  func queueHasRoom() {
    loop.run { [self] in
      isWithheld = false
      release()
    }
  }

  private func release() {
    let bytes = withheldBytes
    withheldBytes = 0
    stream?.consume(bytes)
  }
}
