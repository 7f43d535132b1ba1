import KeelsonCore
import Synchronization

/// The live side of a watch: for each topic that somebody watches, the latest messages in their
/// encoded form, and who waits for the next.
///
/// A message is encoded once for a topic and the same bytes go to all its subscribers. A
/// subscriber is a position in the list of messages; one that falls behind further than the list
/// reaches starts again from a snapshot, so memory does not grow with slow readers.
///
/// Lock order: nothing is called while its lock is held.
package final class Broadcast<Topic: Sendable & Hashable>: Sendable {
  /// What subscribers may hold.
  package struct Limits: Sendable {
    /// Subscribers at one time, all topics taken together.
    package var subscribers: Int
    /// Messages a subscriber can fall behind before it gets a snapshot.
    package var messagesBehind: Int
    /// Bytes of messages that are kept for the subscribers of one topic.
    package var bytesBehind: Int
    /// How long a topic stays silent before a heartbeat.
    package var heartbeatInterval: Duration

    package init(
      subscribers: Int, messagesBehind: Int, bytesBehind: Int, heartbeatInterval: Duration
    ) {
      self.subscribers = subscribers
      self.messagesBehind = messagesBehind
      self.bytesBehind = bytesBehind
      self.heartbeatInterval = heartbeatInterval
    }
  }

  /// A place in a topic's list: the number of messages before it.
  package typealias Position = Int

  /// A message in the list.
  package struct Message: Sendable {
    package var revision: Int64
    /// A heartbeat repeats the revision before it; a change has one of its own.
    package var isHeartbeat: Bool
    /// The encoded response.
    package var bytes: [UInt8]

    package init(revision: Int64, isHeartbeat: Bool, bytes: [UInt8]) {
      self.revision = revision
      self.isHeartbeat = isHeartbeat
      self.bytes = bytes
    }
  }

  /// What a subscriber finds at its position.
  package enum Delivery: Sendable {
    /// Messages to send, and the position after them.
    case messages(ArraySlice<Message>, next: Position)
    /// Messages at the position are gone: send a snapshot.
    case behind
    /// The server is stopping.
    case closed
  }

  /// What a change means to the subscribers of one topic.
  package enum News: Sendable {
    /// The encoded response.
    case message([UInt8])
    /// All of them have to start again from a snapshot.
    case snapshot
    case nothing
  }

  private let state = Mutex(State())
  package let limits: Limits
  private let encodeHeartbeat: @Sendable (Topic, Int64, Duration) -> [UInt8]

  /// - Parameter encodeHeartbeat: the encoded response that says that a topic is up to a revision
  ///   and that the next word comes after a time at the latest.
  package init(
    limits: Limits, encodeHeartbeat: @escaping @Sendable (Topic, Int64, Duration) -> [UInt8]
  ) {
    self.limits = limits
    self.encodeHeartbeat = encodeHeartbeat
  }

  // MARK: Subscribers

  /// Enters a subscriber at the end of the topic's list.
  ///
  /// - Returns: where it stands, and the last revision published before it entered.
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED at the limit of subscribers, UNAVAILABLE when the
  ///   server is stopping.
  package func enter(_ topic: Topic) throws -> (position: Position, revision: Int64) {
    try state.withLock { state in
      guard !state.isClosed else {
        throw RPCError(
          .unavailable, "The server is stopping; connect again.",
          details: [.retryInfo(.seconds(1))])
      }
      guard state.subscribers < limits.subscribers else {
        throw RPCError(
          .resourceExhausted,
          "All \(limits.subscribers) watch streams of this server are taken; try again later.",
          details: [.retryInfo(.seconds(5))])
      }
      state.subscribers += 1
      state.streams[topic, default: Stream()].subscribers += 1
      return (state.streams[topic]?.end ?? 0, state.revision)
    }
  }

  /// Takes a subscriber out; the last one takes the topic with it.
  package func leave(_ topic: Topic) {
    state.withLock { state in
      state.subscribers -= 1
      state.streams[topic]?.subscribers -= 1
      if state.streams[topic]?.subscribers == 0 { state.streams[topic] = nil }
    }
  }

  /// How many watch now.
  package var subscribers: Int { state.withLock { $0.subscribers } }

  /// The end of the topic's list and the last revision published, for a new snapshot.
  package func end(of topic: Topic) -> (position: Position, revision: Int64) {
    state.withLock { ($0.streams[topic]?.end ?? 0, $0.revision) }
  }

  /// What stands at a position now, without waiting; no messages when there is nothing new.
  package func available(_ topic: Topic, at position: Position) -> Delivery {
    state.withLock { $0.delivery(topic, at: position) }
  }

  /// Waits until there is something at a position.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  package func next(_ topic: Topic, at position: Position) async throws -> Delivery {
    while true {
      let found = available(topic, at: position)
      guard case .messages(let messages, _) = found, messages.isEmpty else { return found }
      try await wait(topic, at: position)
    }
  }

  private func wait(_ topic: Topic, at position: Position) async throws {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let isDue = state.withLock { state in
          guard !state.isClosed, !Task.isCancelled,
            let stream = state.streams[topic], stream.end == position
          else { return true }
          state.streams[topic]?.waiters[id] = continuation
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.streams[topic]?.waiters.removeValue(forKey: id) }?.resume()
    }
    try Task.checkCancellation()
  }

  // MARK: Snapshots

  /// The topic's snapshot if one was made at this revision.
  package func snapshot(_ topic: Topic, revision: Int64) -> Message? {
    state.withLock { state in
      guard let snapshot = state.streams[topic]?.snapshot, snapshot.revision == revision else {
        return nil
      }
      return snapshot
    }
  }

  /// Keeps a snapshot for the next subscriber.
  package func keep(_ snapshot: Message, for topic: Topic) -> Message {
    state.withLock { $0.streams[topic]?.snapshot = snapshot }
    return snapshot
  }

  // MARK: Publishing

  /// Publishes a committed change to the topics it concerns. Called in the order of revisions.
  ///
  /// - Parameter news: what it means to a topic; called without the lock, once for each topic
  ///   that somebody watches.
  package func publish(revision: Int64, _ news: (Topic) -> News) {
    let topics = state.withLock { state in
      state.revision = revision
      return Array(state.streams.keys)
    }
    for topic in topics {
      let news = news(topic)
      if case .nothing = news { continue }
      let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
        if case .message(let bytes) = news {
          state.streams[topic]?.append(
            Message(revision: revision, isHeartbeat: false, bytes: bytes), limits: limits)
        } else {
          state.streams[topic]?.startOver()
        }
        state.streams[topic]?.isBusy = true
        return state.takeWaiters(topic)
      }
      for waiter in waiters { waiter.resume() }
    }
    state.withLock { $0.completeRevision = revision }
  }

  /// Notes a committed change that concerns no topic.
  package func advance(to revision: Int64) {
    state.withLock { state in
      state.revision = revision
      state.completeRevision = revision
    }
  }

  /// Sends a heartbeat to every topic that was silent since the last call.
  package func beat() {
    let topics = state.withLock { state in Array(state.streams.keys) }
    for topic in topics {
      let revision = state.withLock { $0.completeRevision }
      let bytes = heartbeat(topic, revision: revision)
      let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
        defer { state.streams[topic]?.isBusy = false }
        // What came meanwhile is a sign of life itself, and later than this.
        guard state.streams[topic]?.isBusy == false else { return [] }
        state.streams[topic]?.append(
          Message(revision: revision, isHeartbeat: true, bytes: bytes), limits: limits)
        return state.takeWaiters(topic)
      }
      for waiter in waiters { waiter.resume() }
    }
  }

  /// Beats until the task is cancelled.
  package func run() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: limits.heartbeatInterval)
      if !Task.isCancelled { beat() }
    }
  }

  /// Ends all watches: the server is stopping.
  package func close() {
    let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      state.isClosed = true
      return state.streams.keys.flatMap { state.takeWaiters($0) }
    }
    for waiter in waiters { waiter.resume() }
  }

  /// An encoded heartbeat.
  package func heartbeat(_ topic: Topic, revision: Int64) -> [UInt8] {
    // A topic may just have been busy when the beat passed by.
    encodeHeartbeat(topic, revision, limits.heartbeatInterval * 2)
  }
}

extension Broadcast {
  fileprivate struct Stream {
    /// The latest messages.
    var messages: [Message] = []
    /// How many messages were dropped before the first of `messages`.
    var dropped = 0
    var subscribers = 0
    var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    /// The last snapshot made, for those who come while nothing has changed since.
    var snapshot: Message?
    /// Whether anything was sent since the last heartbeat.
    var isBusy = true
    /// The bytes of `messages`.
    var bytes = 0

    var end: Position { dropped + messages.count }

    mutating func append(_ message: Message, limits: Limits) {
      messages.append(message)
      bytes += message.bytes.count
      guard messages.count > limits.messagesBehind || bytes > limits.bytesBehind else { return }
      // Down to half at once, so that dropping costs little per message.
      var count = 0
      while messages.count - count > limits.messagesBehind / 2
        || bytes > limits.bytesBehind / 2, count < messages.count
      {
        bytes -= messages[count].bytes.count
        count += 1
      }
      messages.removeFirst(count)
      dropped += count
    }

    /// Leaves everybody behind who is here.
    mutating func startOver() {
      dropped = end + 1
      messages = []
      bytes = 0
    }
  }

  fileprivate struct State {
    var streams: [Topic: Stream] = [:]
    var subscribers = 0
    var nextWaiter = 0
    /// The last revision of which publishing has begun: whoever enters now gets later ones.
    var revision: Int64 = 0
    /// The last revision that stands in every list it belongs to: what a heartbeat may name.
    var completeRevision: Int64 = 0
    var isClosed = false

    func delivery(_ topic: Topic, at position: Position) -> Delivery {
      guard !isClosed, let stream = streams[topic] else { return .closed }
      guard position >= stream.dropped else { return .behind }
      let messages = stream.messages[(position - stream.dropped)...]
      return .messages(messages, next: stream.end)
    }

    mutating func takeWaiters(_ topic: Topic) -> [CheckedContinuation<Void, Never>] {
      guard let waiters = streams[topic]?.waiters.values, !waiters.isEmpty else { return [] }
      let taken = Array(waiters)
      streams[topic]?.waiters = [:]
      return taken
    }
  }
}
