import KeelsonAPI
import KeelsonCore
import Synchronization

/// The live side of `WatchFlags`: for each set and environment that somebody watches, the latest
/// changes in their encoded form, and who waits for the next.
///
/// A change is encoded once for an environment and the same bytes go to all its subscribers. A
/// subscriber is a position in the list of changes; one that falls behind further than the list
/// reaches starts again from a snapshot, so memory does not grow with slow readers.
///
/// Lock order: the book's lock is never taken while holding this one's.
final class FlagWatches: Sendable {
  /// What is watched.
  struct Topic: Sendable, Hashable {
    var set: String
    var environment: String
  }

  /// A place in a topic's list: the number of messages before it.
  typealias Position = Int

  /// A message in the list.
  struct Message: Sendable {
    var revision: Int64
    /// A heartbeat repeats the revision before it; a change has one of its own.
    var isHeartbeat: Bool
    /// The encoded `WatchFlagsResponse`.
    var bytes: [UInt8]
  }

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

    mutating func append(_ message: Message, limits: FlagLimits) {
      messages.append(message)
      bytes += message.bytes.count
      guard messages.count > limits.changesBehind || bytes > limits.changeBytesBehind else {
        return
      }
      // Down to half at once, so that dropping costs little per message.
      var count = 0
      while messages.count - count > limits.changesBehind / 2
        || bytes > limits.changeBytesBehind / 2, count < messages.count
      {
        bytes -= messages[count].bytes.count
        count += 1
      }
      messages.removeFirst(count)
      dropped += count
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
  }

  private let state = Mutex(State())
  private let limits: FlagLimits

  init(limits: FlagLimits) {
    self.limits = limits
  }

  /// What a subscriber finds at its position.
  enum Delivery: Sendable {
    /// Messages to send, and the position after them.
    case messages(ArraySlice<Message>, next: Position)
    /// Changes at the position are gone: send a snapshot.
    case behind
    /// The server is stopping.
    case closed
  }

  // MARK: Subscribers

  /// Enters a subscriber at the end of the topic's list.
  ///
  /// - Returns: where it stands, and the last revision published before it entered.
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED at the limit of subscribers, UNAVAILABLE when the
  ///   server is stopping.
  func enter(_ topic: Topic) throws -> (position: Position, revision: Int64) {
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
  func leave(_ topic: Topic) {
    state.withLock { state in
      state.subscribers -= 1
      state.streams[topic]?.subscribers -= 1
      if state.streams[topic]?.subscribers == 0 { state.streams[topic] = nil }
    }
  }

  /// The end of the topic's list and the last revision published, for a new snapshot.
  func end(of topic: Topic) -> (position: Position, revision: Int64) {
    state.withLock { ($0.streams[topic]?.end ?? 0, $0.revision) }
  }

  /// What stands at a position now, without waiting; no messages when there is nothing new.
  func available(_ topic: Topic, at position: Position) -> Delivery {
    state.withLock { $0.delivery(topic, at: position) }
  }

  /// Waits until there is something at a position.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  func next(_ topic: Topic, at position: Position) async throws -> Delivery {
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
  func snapshot(_ topic: Topic, revision: Int64) -> Message? {
    state.withLock { state in
      guard let snapshot = state.streams[topic]?.snapshot, snapshot.revision == revision else {
        return nil
      }
      return snapshot
    }
  }

  /// Keeps a snapshot for the next subscriber.
  func keep(_ snapshot: Message, for topic: Topic) -> Message {
    state.withLock { $0.streams[topic]?.snapshot = snapshot }
    return snapshot
  }

  // MARK: Publishing

  /// Publishes a committed change to the topics it concerns. Called in the order of revisions.
  func publish(_ change: FlagRuleBook.Change, revision: Int64) {
    let topics = state.withLock { state in
      state.revision = revision
      return state.streams.keys.filter { $0.set == change.setKey }
    }
    for topic in topics {
      let bytes = FlagWatches.encoded(change, revision: revision, in: topic.environment)
      let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
        state.streams[topic]?.append(
          Message(revision: revision, isHeartbeat: false, bytes: bytes), limits: limits)
        state.streams[topic]?.isBusy = true
        return state.takeWaiters(topic)
      }
      for waiter in waiters { waiter.resume() }
    }
    state.withLock { $0.completeRevision = revision }
  }

  /// Notes a committed change that is not about flags.
  func advance(to revision: Int64) {
    state.withLock { state in
      state.revision = revision
      state.completeRevision = revision
    }
  }

  /// Sends a heartbeat to every topic that was silent since the last call.
  func beat() {
    let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      var waiters: [CheckedContinuation<Void, Never>] = []
      for topic in state.streams.keys {
        if state.streams[topic]?.isBusy == false {
          let bytes = heartbeat(revision: state.completeRevision)
          state.streams[topic]?.append(
            Message(revision: state.completeRevision, isHeartbeat: true, bytes: bytes),
            limits: limits)
          waiters += state.takeWaiters(topic)
        }
        state.streams[topic]?.isBusy = false
      }
      return waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Ends all watches: the server is stopping.
  func close() {
    let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      state.isClosed = true
      return state.streams.keys.flatMap { state.takeWaiters($0) }
    }
    for waiter in waiters { waiter.resume() }
  }

  // MARK: Messages

  static func encoded(
    _ change: FlagRuleBook.Change, revision: Int64, in environment: String
  ) -> [UInt8] {
    var response = KeelsonFlagsV1.WatchFlagsResponse()
    response.revision = revision
    response.event = .change(change.rules(in: environment))
    return response.encoded()
  }

  /// An encoded heartbeat.
  func heartbeat(revision: Int64) -> [UInt8] {
    var response = KeelsonFlagsV1.WatchFlagsResponse()
    response.revision = revision
    var heartbeat = KeelsonFlagsV1.Heartbeat()
    // A topic may just have been busy when the beat passed by.
    heartbeat.interval = GoogleProtobuf.Duration(limits.heartbeatInterval * 2)
    response.event = .heartbeat(heartbeat)
    return response.encoded()
  }
}

extension FlagWatches.State {
  fileprivate func delivery(
    _ topic: FlagWatches.Topic, at position: FlagWatches.Position
  ) -> FlagWatches.Delivery {
    guard !isClosed, let stream = streams[topic] else { return .closed }
    guard position >= stream.dropped else { return .behind }
    let messages = stream.messages[(position - stream.dropped)...]
    return .messages(messages, next: stream.end)
  }

  fileprivate mutating func takeWaiters(
    _ topic: FlagWatches.Topic
  ) -> [CheckedContinuation<Void, Never>] {
    guard let waiters = streams[topic]?.waiters.values, !waiters.isEmpty else { return [] }
    let taken = Array(waiters)
    streams[topic]?.waiters = [:]
    return taken
  }
}
