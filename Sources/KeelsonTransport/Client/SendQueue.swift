/// The request messages of a streaming call on their way from the caller's thread to the loop.
struct SendQueue {
  struct Message {
    let bytes: [UInt8]
    /// Whether it may be compressed.
    let isCompressible: Bool
  }

  /// A sender waits once this much has not been handed to the stream.
  static let limitBytes = 64 * 1024

  /// Messages that have not been handed to the stream.
  var messages: [Message] = []
  var bytes = 0
  var isFinished = false
  /// Whether the loop will look here anyhow.
  var isDrainPending = false
  /// Whether the stream's own queue is over its watermark.
  var isBlocked = false
  var end: CallEnd?
  var waiter: Waiter<CallEnd?>?

  var hasRoom: Bool { bytes < Self.limitBytes && !isBlocked }

  mutating func takeWaiterIfRoom() -> Waiter<CallEnd?>? {
    guard hasRoom else { return nil }
    defer { waiter = nil }
    return waiter
  }
}
