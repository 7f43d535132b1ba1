package import KeelsonCore
import Synchronization

/// The messages of one direction of a call, between the one who delivers them and the one task
/// that reads them; then how the call ended.
///
/// The queue never refuses a message. It says when it is full, and whoever fills it stops: a
/// writer waits, a connection stops giving credit to its peer.
package final class MessageQueue: Sendable {
  package enum Item: Sendable {
    case message([UInt8])
    case end(CallEnd)
  }

  /// What a queued message costs beside its bytes, so that empty messages fill the queue too.
  private static let overheadBytes = 64

  private struct State {
    var messages: [[UInt8]?] = []
    var first = 0
    var queuedBytes = 0
    var head: Metadata?
    var end: CallEnd?
    var reader: Waiter<Item>?
    var writers: [Waiter<CallEnd?>] = []
    var headReaders: [Waiter<Result<Metadata, RPCError>>] = []

    mutating func popFirst() -> [UInt8]? {
      guard first < messages.count, let message = messages[first] else { return nil }
      messages[first] = nil
      first += 1
      if first == messages.count {
        messages.removeAll(keepingCapacity: true)
        first = 0
      } else if first >= 32, first * 2 >= messages.count {
        messages.removeFirst(first)
        first = 0
      }
      queuedBytes -= message.count + MessageQueue.overheadBytes
      return message
    }
  }

  private let state = Mutex(State())
  private let limitBytes: Int
  private let onRoom: (@Sendable () -> Void)?

  /// - Parameters:
  ///   - limitBytes: the queue is full from this many bytes on.
  ///   - onRoom: called on the reader's thread when the queue was full and is no longer.
  package init(limitBytes: Int, onRoom: (@Sendable () -> Void)? = nil) {
    self.limitBytes = limitBytes
    self.onRoom = onRoom
  }

  // MARK: Delivering

  /// Adds a message, unless the call has ended.
  ///
  /// - Returns: whether there is room for another.
  @discardableResult
  package func push(_ message: [UInt8]) -> Bool {
    let (reader, hasRoom) = state.withLock {
      state -> (Waiter<Item>?, Bool) in
      guard state.end == nil else { return (nil, true) }
      if let reader = state.reader {
        state.reader = nil
        return (reader, true)
      }
      state.messages.append(message)
      state.queuedBytes += message.count + Self.overheadBytes
      return (nil, state.queuedBytes < limitBytes)
    }
    reader?.resume(returning: .message(message))
    return hasRoom
  }

  /// Sets the metadata that came ahead of the messages.
  package func deliver(head: Metadata) {
    let readers = state.withLock { state in
      state.head = head
      defer { state.headReaders = [] }
      return state.headReaders
    }
    for reader in readers { reader.resume(returning: .success(head)) }
  }

  /// Says how the call ended; only the first time counts.
  ///
  /// - Parameter discarding: whether messages that nobody has read yet are dropped.
  /// - Returns: whether this was the first time.
  @discardableResult
  package func finish(_ end: CallEnd, discarding: Bool) -> Bool {
    var waiting = State()
    let isFirst = state.withLock { state in
      guard state.end == nil else { return false }
      state.end = end
      if discarding {
        state.messages = []
        state.first = 0
        state.queuedBytes = 0
      }
      swap(&waiting.reader, &state.reader)
      swap(&waiting.writers, &state.writers)
      swap(&waiting.headReaders, &state.headReaders)
      return true
    }
    waiting.reader?.resume(returning: .end(end))
    for writer in waiting.writers { writer.resume(returning: end) }
    for reader in waiting.headReaders {
      reader.resume(returning: Self.head(after: end))
    }
    return isFirst
  }

  /// Waits until the queue is not full.
  ///
  /// - Returns: how the call ended, if it has.
  package func waitForRoom() async -> CallEnd? {
    await Waiter.wait { waiter in
      let answer: CallEnd?? = state.withLock { state in
        if let end = state.end { return .some(end) }
        if state.queuedBytes < limitBytes { return .some(nil) }
        state.writers.append(waiter)
        return nil
      }
      if let answer { waiter.resume(returning: answer) }
    }
  }

  // MARK: Reading

  /// How the call ended, once it has.
  package var end: CallEnd? { state.withLock { $0.end } }

  /// Waits for the next message, or the end after the last one. One task at a time.
  ///
  /// A task that is cancelled gets the end CANCELLED if it would have to wait; the queue itself
  /// does not end by that.
  package func next() async -> Item {
    if let item = poll() { return item }
    return await withTaskCancellationHandler {
      await Waiter.wait { waiter in
        // A message may have come since: taking it makes room like any other.
        let (item, writers, hasRoomAgain) = state.withLock {
          state -> (item: Item?, writers: [Waiter<CallEnd?>], hasRoomAgain: Bool) in
          let taken = take(&state)
          guard taken.item == nil else { return taken }
          // Set before the handler below runs, which then finds a reader or is found out here.
          if Task.isCancelled { return (Self.interrupted, [], false) }
          precondition(state.reader == nil, "two tasks read the same call")
          state.reader = waiter
          return taken
        }
        tellOfRoom(writers, hasRoomAgain)
        if let item { waiter.resume(returning: item) }
      }
    } onCancel: {
      let reader = state.withLock { state in
        defer { state.reader = nil }
        return state.reader
      }
      reader?.resume(returning: Self.interrupted)
    }
  }

  private static let interrupted = Item.end(
    .failed(RPCError(.cancelled, "The task that reads the call was cancelled.")))

  /// What is there already: a message or the end; nil if the reader would have to wait.
  package func poll() -> Item? {
    let (item, writers, hasRoomAgain) = state.withLock { take(&$0) }
    tellOfRoom(writers, hasRoomAgain)
    return item
  }

  /// Takes out what comes next, and the writers that may go on because of it.
  private func take(
    _ state: inout State
  ) -> (item: Item?, writers: [Waiter<CallEnd?>], hasRoomAgain: Bool) {
    let before = state.queuedBytes
    guard let message = state.popFirst() else { return (state.end.map(Item.end), [], false) }
    guard before >= limitBytes, state.queuedBytes < limitBytes, state.end == nil else {
      return (.message(message), [], false)
    }
    defer { state.writers = [] }
    return (.message(message), state.writers, true)
  }

  private func tellOfRoom(_ writers: [Waiter<CallEnd?>], _ hasRoomAgain: Bool) {
    guard hasRoomAgain else { return }
    for writer in writers { writer.resume(returning: nil) }
    onRoom?()
  }

  /// Waits for the metadata ahead of the messages.
  package func head() async throws(RPCError) -> Metadata {
    let result = await Waiter.wait {
      (waiter: Waiter<Result<Metadata, RPCError>>) in
      let answer: Result<Metadata, RPCError>? = state.withLock { state in
        if let head = state.head { return .success(head) }
        if let end = state.end { return Self.head(after: end) }
        state.headReaders.append(waiter)
        return nil
      }
      if let answer { waiter.resume(returning: answer) }
    }
    return try result.get()
  }

  /// A call that ended before any metadata came had none, or failed.
  private static func head(after end: CallEnd) -> Result<Metadata, RPCError> {
    switch end {
    case .ok: .success([:])
    case .failed(let error): .failure(error)
    }
  }
}
