import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

/// The live side of `Subscribe`: the latest durable events in their encoded form, and who is to be
/// woken for the next.
///
/// An event is encoded once and the same bytes go to all its subscribers. A subscriber is a
/// revision; one that falls behind what is kept here reads the table, so memory does not grow with
/// slow readers. Committed events are taken over on the database's writer thread and given out on
/// a task of the hub's own, so that changes do not wait for subscribers.
final class EventHub: Sendable {
  /// A durable event, ready to be sent.
  struct Entry: Sendable {
    let revision: Int64
    let type: String
    let subject: String
    /// The encoded `SubscribeResponse`.
    let bytes: [UInt8]
  }

  /// What a subscriber finds after a revision.
  enum Delivery: Sendable {
    /// Nothing new.
    case none
    /// What it wants, and the revision up to which there is nothing else.
    case entries([Entry], upTo: Int64)
    /// Events after the revision are not in memory: read the table.
    case table
  }

  fileprivate struct State {
    /// The last revision that was given out.
    var current: Int64 = 0
    /// The latest events, without a gap; the last one's revision is `current`.
    var recent = Deque<Entry>()
    var recentBytes = 0
    /// By what they want, so that an event is compared once with each.
    var subscribers: [EventSelection: [ObjectIdentifier: EventSubscriber]] = [:]
    var count = 0
    /// Of them, those that want telemetry.
    var telemetryCount = 0
    /// How many heartbeats were due so far.
    var beats = 0
    /// Where the database stood when the last one was.
    var revisionAtBeat: Int64 = 0
    var isClosed = false
  }

  private let state = Mutex(State())
  /// Committed, and not given out yet.
  private let arrivals = Mutex(Deque<CommittedEvent>())
  private let bell: (stream: AsyncStream<Void>, ring: AsyncStream<Void>.Continuation)
  private let source: String
  private let limits: EventLimits

  init(source: String, limits: EventLimits) {
    self.source = source
    self.limits = limits
    let (stream, ring) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    bell = (stream, ring)
  }

  // MARK: Subscribers

  /// Lets a subscriber in.
  ///
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED at the limit of subscribers, UNAVAILABLE when the
  ///   server is stopping.
  func enter(_ selection: EventSelection) throws -> EventSubscriber {
    try state.withLock { state in
      guard !state.isClosed else { throw EventHub.stopping }
      guard state.count < limits.subscribers else {
        throw RPCError(
          .resourceExhausted,
          "All \(limits.subscribers) event subscriptions of this server are taken; try again "
            + "later.", details: [.retryInfo(.seconds(5))])
      }
      let wantsTelemetry = selection.kinds.contains(.telemetry)
      guard !wantsTelemetry || state.telemetryCount < limits.telemetrySubscribers else {
        throw RPCError(
          .resourceExhausted,
          "All \(limits.telemetrySubscribers) telemetry subscriptions of this server are taken; "
            + "try again later, or leave telemetry out.", details: [.retryInfo(.seconds(5))])
      }
      let subscriber = EventSubscriber(selection)
      state.count += 1
      if wantsTelemetry { state.telemetryCount += 1 }
      state.subscribers[selection, default: [:]][ObjectIdentifier(subscriber)] = subscriber
      return subscriber
    }
  }

  func leave(_ subscriber: EventSubscriber) {
    state.withLock { state in
      state.count -= 1
      if subscriber.selection.kinds.contains(.telemetry) { state.telemetryCount -= 1 }
      state.subscribers[subscriber.selection]?[ObjectIdentifier(subscriber)] = nil
      if state.subscribers[subscriber.selection]?.isEmpty == true {
        state.subscribers[subscriber.selection] = nil
      }
    }
  }

  static let stopping = RPCError(
    .unavailable, "The server is stopping, or has lost its database; connect again and resume.",
    details: [.retryInfo(.seconds(1))])

  /// How many heartbeats were due so far.
  ///
  /// - Throws: `RPCError` UNAVAILABLE when the server is stopping.
  func beats() throws -> Int {
    try state.withLock { state in
      guard !state.isClosed else { throw EventHub.stopping }
      return state.beats
    }
  }

  /// What there is for a selection after a revision, without waiting.
  func delivery(_ selection: EventSelection, after revision: Int64, limit: Int) -> Delivery {
    state.withLock { state in
      guard revision < state.current else { return .none }
      guard let oldest = state.recent.first?.revision, oldest <= revision + 1 else {
        return .table
      }
      var entries: [Entry] = []
      for offset in Int(revision + 1 - oldest)..<state.recent.count {
        let entry = state.recent[offset]
        guard selection.includes(type: entry.type, subject: entry.subject) else { continue }
        entries.append(entry)
        if entries.count == limit { return .entries(entries, upTo: entry.revision) }
      }
      return .entries(entries, upTo: state.current)
    }
  }

  /// The last revision that was given out.
  var current: Int64 { state.withLock { $0.current } }

  // MARK: Events

  /// Says where the revisions stand before the first event comes.
  func start(at revision: Int64) {
    state.withLock { $0.current = max($0.current, revision) }
  }

  /// Takes committed events over, in order. Quick: it runs on the database's writer thread.
  func receive(_ events: [CommittedEvent]) {
    arrivals.withLock { arrivals in
      arrivals.append(contentsOf: events)
      // What falls out is read from the table.
      while arrivals.count > limits.recentEvents { _ = arrivals.popFirst() }
    }
    bell.ring.yield()
  }

  /// Gives events out until the task is cancelled.
  func run() async {
    for await _ in bell.stream { distribute() }
  }

  /// Gives out what has come so far.
  func distribute() {
    let arrived = arrivals.withLock { arrivals in
      defer { arrivals = Deque() }
      return arrivals
    }
    let events = (0..<arrived.count).map { arrived[$0] }
    guard let last = events.last else { return }
    // Without subscribers there is nobody to encode for; the first one reads the table.
    let isHeard = state.withLock { $0.count > 0 }
    let entries = isHeard ? events.map(entry) : []
    let woken = state.withLock { state -> [EventSubscriber] in
      state.take(entries, upTo: last.revision, limits: limits)
      return state.subscribers.flatMap { selection, subscribers in
        events.contains { selection.includes(type: $0.type, subject: $0.subject) }
          ? Array(subscribers.values) : []
      }
    }
    for subscriber in woken { subscriber.ring() }
  }

  private func entry(_ event: CommittedEvent) -> Entry {
    let cloudEvent = IoCloudeventsV1.CloudEvent(event, source: source)
    return Entry(
      revision: event.revision, type: event.type, subject: event.subject,
      bytes: KeelsonEventsV1.SubscribeResponse(
        revision: event.revision, content: .event(cloudEvent)
      ).encoded())
  }

  /// Says that a heartbeat is due to whoever was sent nothing since the last one.
  ///
  /// - Parameter revision: where the database stands. Events up to where it stood at the last
  ///   heartbeat that have not come since were never told of, because this server had lost the
  ///   database for a while: they are read from the table now.
  func beat(at revision: Int64) {
    let subscribers = state.withLock { state in
      state.beats += 1
      state.take([], upTo: state.revisionAtBeat, limits: limits)
      state.revisionAtBeat = revision
      return state.subscribers.values.flatMap(\.values)
    }
    for subscriber in subscribers { subscriber.ring() }
  }

  /// Ends all subscriptions: the server is stopping, or hears of no more changes.
  func close() {
    let subscribers = state.withLock { state in
      state.isClosed = true
      return state.subscribers.values.flatMap(\.values)
    }
    for subscriber in subscribers { subscriber.ring() }
    bell.ring.finish()
  }
}

extension EventHub.State {
  /// Takes entries in that end at a revision. Those that do not follow the last ones begin anew.
  fileprivate mutating func take(
    _ entries: [EventHub.Entry], upTo revision: Int64, limits: EventLimits
  ) {
    guard revision > current else { return }
    let new = entries.drop { $0.revision <= current }
    if new.first?.revision != current + 1 {
      recent = Deque()
      recentBytes = 0
    }
    current = revision
    for entry in new {
      recent.append(entry)
      recentBytes += entry.bytes.count
    }
    while recent.count > limits.recentEvents || recentBytes > limits.recentBytes,
      let oldest = recent.popFirst()
    {
      recentBytes -= oldest.bytes.count
    }
  }
}
