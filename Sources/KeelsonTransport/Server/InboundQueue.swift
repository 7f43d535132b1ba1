import KeelsonCore

/// Messages that have come on a call and were not read, and the reader that waits for one.
@safe struct InboundQueue {
  typealias Reader = UnsafeContinuation<[UInt8]?, any Error>

  private struct Item {
    let message: ReceivedMessage
    /// Bytes of the peer's window that come free when this message is taken.
    var credit: Int
  }

  /// What a queued message costs beside its bytes, so that empty messages count too.
  static let overheadBytes = 64

  /// nil where a message was taken, until there are enough of these to close the gap.
  private var items: [Item?] = []
  /// Bytes of the messages that were not taken, and what these cost beside.
  private(set) var bytes = 0
  private var next = 0
  private var hasEnded = false
  private var failure: RPCError?
  private var reader: Reader?

  /// How many places are held, those of messages that were taken included.
  var slots: Int { items.count }

  mutating func append(_ message: ReceivedMessage) {
    items.append(Item(message: message, credit: 0))
    bytes += message.bytes.count + Self.overheadBytes
  }

  /// Ties window bytes to the message that came last.
  mutating func addCredit(_ bytes: Int) {
    items[items.count - 1]?.credit += bytes
  }

  mutating func end() {
    hasEnded = true
  }

  /// The call is over: a waiting reader and later ones get the error; what waits is dropped.
  mutating func fail(_ error: RPCError) {
    guard failure == nil else { return }
    failure = error
    items = []
    next = 0
    bytes = 0
    let waiting = unsafe reader
    unsafe reader = nil
    unsafe waiting?.resume(throwing: error)
  }

  enum Outcome {
    case message(ReceivedMessage, credit: Int)
    case end
    case failure(RPCError)
    case nothingYet
  }

  mutating func take() -> Outcome {
    if let failure { return .failure(failure) }
    if next < items.count, let item = items[next] {
      items[next] = nil
      next += 1
      bytes -= item.message.bytes.count + Self.overheadBytes
      if next == items.count {
        items.removeAll(keepingCapacity: items.capacity <= 16)
        next = 0
      } else if next >= 32, next * 2 >= items.count {
        items.removeFirst(next)
        next = 0
      }
      return .message(item.message, credit: item.credit)
    }
    return hasEnded ? .end : .nothingYet
  }

  /// Remembers who waits; false when somebody does already.
  mutating func wait(_ reader: Reader) -> Bool {
    guard unsafe self.reader == nil else { return false }
    unsafe self.reader = reader
    return true
  }

  mutating func takeReader() -> Reader? {
    defer { unsafe reader = nil }
    return unsafe reader
  }
}

/// The tasks of a call that wait for room to write.
@safe struct WaitingWriters {
  typealias Writer = UnsafeContinuation<Void, any Error>

  private var waiting: [Writer] = unsafe []

  mutating func wait(_ writer: Writer) {
    unsafe waiting.append(writer)
  }

  mutating func resumeAll() {
    let writers = unsafe take()
    for index in unsafe writers.indices { unsafe writers[index].resume() }
  }

  mutating func failAll(_ error: any Error) {
    let writers = unsafe take()
    for index in unsafe writers.indices { unsafe writers[index].resume(throwing: error) }
  }

  private mutating func take() -> [Writer] {
    let writers = unsafe waiting
    unsafe waiting = []
    return unsafe writers
  }
}
