import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// What becomes void, for whoever watches: the latest invalidations, encoded once for all of them.
///
/// A watcher is a position in the list. One that falls behind further than the list reaches starts
/// anew, so memory does not grow with slow readers.
///
/// Lock order: a leaf; nothing is called while its lock is held.
final class InvalidationFeed: Sendable {
  /// What a watcher has to send.
  struct Delivery: Sendable {
    /// The watcher has to drop all copies first.
    var start: CachePosition?
    var messages: [[UInt8]]
    /// Where it stands then, and whether more is there.
    var next: Int
    var isLast: Bool
  }

  fileprivate struct State {
    var messages: [[UInt8]] = []
    var bytes = 0
    /// How many messages were dropped before the first of `messages`.
    var dropped = 0
    var position = CachePosition(epoch: 0, sequence: 0)
    var watchers: [Int: Wakeup] = [:]
    var nextID = 0
    var isClosed = false

    var end: Int { dropped + messages.count }
  }

  /// Whoever is further behind comes again.
  private static let messagesOfDelivery = 256

  private let state = Mutex(State())
  private let limits: CacheLimits

  init(limits: CacheLimits) {
    self.limits = limits
  }

  /// How many watch now.
  var watchers: Int { state.withLock { $0.watchers.count } }
  var position: CachePosition { state.withLock { $0.position } }

  // MARK: What happens

  /// Called with one event after the other.
  func take(_ event: CacheFeedEvent) {
    switch event {
    case .start(let position): start(at: position)
    case .invalidation(let invalidation):
      // Encoding is what costs, and whoever comes later starts after this one.
      let isWatched = state.withLock { state in
        guard state.watchers.isEmpty else { return true }
        state.position.sequence = invalidation.sequence
        state.startAnew()
        return false
      }
      if isWatched { append(invalidation) }
    }
  }

  private func start(at position: CachePosition) {
    wake { state in
      state.position = position
      state.startAnew()
    }
  }

  private func append(_ invalidation: Invalidation) {
    let bytes = Self.encoded(invalidation)
    wake { state in
      state.position.sequence = invalidation.sequence
      state.append(bytes, limits: limits)
    }
  }

  private func wake(_ change: (inout State) -> Void) {
    let woken = state.withLock { state in
      change(&state)
      return Array(state.watchers.values)
    }
    for wakeup in woken { wakeup.set() }
  }

  /// Ends all watches: the server is stopping.
  func close() {
    let woken = state.withLock { state in
      state.isClosed = true
      return Array(state.watchers.values)
    }
    for wakeup in woken { wakeup.close() }
  }

  // MARK: Watchers

  /// Enters a watcher, which starts anew.
  ///
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED at the limit of watches, UNAVAILABLE when the server is
  ///   stopping.
  func enter(_ wakeup: Wakeup) throws -> Int {
    try state.withLock { state in
      guard !state.isClosed else {
        throw RPCError(
          .unavailable, "The server is stopping; connect again.",
          details: [.retryInfo(.seconds(1))])
      }
      guard state.watchers.count < limits.watches else {
        throw RPCError(
          .resourceExhausted,
          "All \(limits.watches) watches of invalidations are taken ('cache-watches'); try again "
            + "later.", details: [.retryInfo(.seconds(5))])
      }
      state.nextID += 1
      state.watchers[state.nextID] = wakeup
      return state.nextID
    }
  }

  func leave(_ id: Int) {
    state.withLock { _ = $0.watchers.removeValue(forKey: id) }
  }

  /// What stands at a watcher's position, a part of it when it is much; nil: it begins.
  func delivery(at position: Int?) -> Delivery {
    state.withLock { state in
      guard let position, position >= state.dropped else {
        return Delivery(start: state.position, messages: [], next: state.end, isLast: true)
      }
      let first = position - state.dropped
      // A copy, since a slice would keep the whole list from growing in place.
      let messages = Array(state.messages[first...].prefix(Self.messagesOfDelivery))
      return Delivery(
        start: nil, messages: messages, next: position + messages.count,
        isLast: first + messages.count == state.messages.count)
    }
  }

  static func encoded(_ invalidation: Invalidation) -> [UInt8] {
    var message = KeelsonCacheV1.Invalidation()
    message.sequence = invalidation.sequence
    switch invalidation.scope {
    case .keys(let keys): message.keys = keys
    case .tags(let tags): message.tags = tags
    case .pattern(let pattern): message.patterns = [pattern.text]
    case .all: message.all = true
    }
    var response = KeelsonCacheV1.WatchInvalidationsResponse()
    response.event = .invalidation(message)
    return response.encoded()
  }
}

extension InvalidationFeed.State {
  /// Leaves everybody behind who is here.
  fileprivate mutating func startAnew() {
    dropped = end + 1
    messages = []
    bytes = 0
  }

  fileprivate mutating func append(_ message: [UInt8], limits: CacheLimits) {
    messages.append(message)
    bytes += message.count
    guard messages.count > limits.invalidationsBehind || bytes > limits.invalidationBytesBehind
    else { return }
    // Down to half at once, so that dropping costs little per message.
    var count = 0
    while messages.count - count > limits.invalidationsBehind / 2
      || bytes > limits.invalidationBytesBehind / 2, count < messages.count
    {
      bytes -= messages[count].count
      count += 1
    }
    messages.removeFirst(count)
    dropped += count
  }
}
