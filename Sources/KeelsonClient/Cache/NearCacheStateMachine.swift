import KeelsonCacheRules
import KeelsonCore

/// Copies of a cache's entries and what makes them void, without I/O and without a clock of its own.
///
/// What it promises: ``look(_:at:)`` gives nothing that became void more than
/// ``Settings/stalenessLimit`` ago, whatever is lost, late or out of order. How:
///
/// - The stream tells all that becomes void, in order. A pong says that everything was told that
///   had become void by a certain time; copies are given only for so long after it. So lateness,
///   silence and a lost stream need no further rule.
/// - A gap, another life of the cache or a new stream voids all copies.
/// - What a call answers is kept only if it belongs to the stream's life of the cache, nothing that
///   was told meanwhile concerns it, and the call began when the stream had run for the limit
///   already: what a server did not know when it answered, the stream has told.
struct NearCacheStateMachine<Value: Sendable>: ~Copyable {
  typealias Instant = CacheInstant

  struct Settings: Sendable {
    /// Bytes that all copies may take; 0: none are kept.
    var byteLimit: Int
    /// How old what a copy says may be, and how far behind a server's answer may be.
    var stalenessLimit: Duration
    /// A stream on which a ping is not answered for this long is given up.
    var silenceLimit: Duration = .seconds(2)
    /// Without a look for this long no pings are sent.
    var idleLimit: Duration = .seconds(1)
    /// Tags, and patterns, whose invalidations are remembered. One more, and all copies go.
    var tags = 10_000
    var patterns = 100
    /// Pings that wait for their pongs.
    var pings = 256

    init(byteLimit: Int, stalenessLimit: Duration) {
      self.byteLimit = byteLimit
      self.stalenessLimit = stalenessLimit
    }
  }

  /// What a call has answered about a key.
  struct Answer: Sendable {
    var value: Value
    var valueBytes: Int
    /// As of when it is current.
    var position: CachePosition
    var tags: [String]
    /// How long it was fresh when the call began, at least.
    var freshFor: Duration
    /// After which part of that a look asks for it to be loaded anew; nil: never.
    var refreshAfter: Duration?
  }

  enum Look {
    /// - wantsRefresh: that somebody should load it anew beside it. Said once.
    case hit(Value, wantsRefresh: Bool)
    /// - wakes: that pings are to be sent again.
    case miss(wakes: Bool)
  }

  /// A call under way.
  struct Ticket: Sendable {
    fileprivate var key: String
    fileprivate var began: Instant
  }

  /// What to do when the time for a ping has come.
  enum Tick: Equatable {
    /// - nearHits: looks that were answered since the ping before.
    case ping(UInt64, nearHits: UInt64)
    /// Nobody looks: wait until somebody does.
    case idle
    /// The server does not answer: begin another stream.
    case giveUp
  }

  /// A copy. Changed under the lock of whoever owns the machine, like the machine itself.
  private final class Copy {
    let value: Value
    let stamp: UInt64
    let tags: [String]
    let expires: Instant
    var refreshes: Instant
    /// It was found current as of this sequence.
    var checked: UInt64

    /// Bytes beside the value, roughly.
    static var bytes: Int { 160 }

    init(_ answer: Answer, began: Instant) {
      value = answer.value
      stamp = answer.position.sequence
      tags = answer.tags
      expires = began + answer.freshFor
      refreshes = answer.refreshAfter.map { began + $0 } ?? .distantFuture
      checked = stamp
    }
  }

  /// What was heard of a key while calls about it are under way.
  private struct Placeholder {
    var calls = 0
    /// What has a lower stamp is void.
    var lastInvalidation: UInt64 = 0
  }

  private let settings: Settings
  private var copies: CacheTable<Copy>
  private var placeholders: [String: Placeholder] = [:]
  /// What the stream has told; nil without one.
  private var view: InvalidationView?
  /// What calls answer that began earlier is not kept.
  private(set) var keepsFrom: Instant?
  /// How long what is known will do.
  private var servesUntil = Instant(microseconds: .min)
  /// Where the stream has to come to before copies are given again.
  private var reach: CachePosition?
  private var pings: [(number: UInt64, sent: Instant)] = []
  private var lastPing: UInt64 = 0
  private var lastLook: Instant?
  private var isIdle = false
  private var nearHits: UInt64 = 0

  /// Looks that were answered.
  private(set) var hits: UInt64 = 0
  /// Answers that were not kept because they were void, or might have been.
  private(set) var refusals: UInt64 = 0
  /// Times that all copies were dropped.
  private(set) var flushes: UInt64 = 0
  private(set) var invalidations: UInt64 = 0

  init(_ settings: Settings, now: Instant) {
    self.settings = settings
    copies = CacheTable(byteLimit: settings.byteLimit, now: now)
  }

  var count: Int { copies.count }
  var bytes: Int { copies.bytes }
  /// The stream's place, while there is one.
  var position: CachePosition? {
    view.map { CachePosition(epoch: $0.epoch, sequence: $0.sequence) }
  }
  /// Whether copies may be given.
  func isInSync(at now: Instant) -> Bool {
    now < servesUntil && reach == nil
  }

  // MARK: The stream

  /// A stream begins, or begins anew.
  mutating func start(at position: CachePosition, now: Instant) {
    view = InvalidationView(epoch: position.epoch, sequence: position.sequence)
    if let reach, reach.epoch != position.epoch || reach.sequence <= position.sequence {
      self.reach = nil
    }
    flush(now)
  }

  private mutating func flush(_ now: Instant) {
    copies.removeAll(now: now)
    keepsFrom = now + settings.stalenessLimit
    servesUntil = Instant(microseconds: .min)
    flushes += 1
  }

  /// The stream tells what has become void.
  mutating func hear(_ invalidation: Invalidation, now: Instant) {
    guard var view = self.view.take() else { return }
    let outcome = view.apply(invalidation)
    self.view = view
    switch outcome {
    case .known: return
    case .gap:
      return start(
        at: CachePosition(epoch: view.epoch, sequence: invalidation.sequence), now: now)
    case .applied:
      invalidations += 1
      if let reach, reach.sequence <= view.sequence { self.reach = nil }
    }
    switch invalidation.scope {
    case .keys(let keys): drop(keys, below: invalidation.sequence, now: now)
    case .all: copies.removeAll(now: now)
    case .tags, .pattern:
      // The servers know of these by the time that calls which begin now are kept.
      if view.tags.count > settings.tags || view.bans.count > settings.patterns {
        start(at: CachePosition(epoch: view.epoch, sequence: view.sequence), now: now)
      }
    }
  }

  private mutating func drop(_ keys: [String], below sequence: UInt64, now: Instant) {
    for key in keys {
      if let copy = copies.get(key, now: now), copy.stamp < sequence { copies.remove(key) }
      if let placeholder = placeholders[key], placeholder.lastInvalidation < sequence {
        placeholders[key]?.lastInvalidation = sequence
      }
    }
  }

  /// A ping was answered.
  ///
  /// - Parameter age: how far behind the answer the server's knowledge is; nil: it does not know.
  mutating func pong(_ number: UInt64, age: Duration?) {
    guard let index = pings.firstIndex(where: { $0.number == number }) else { return }
    let sent = pings[index].sent
    pings.removeSubrange(...index)
    guard let age, view != nil else {
      servesUntil = Instant(microseconds: .min)
      return
    }
    servesUntil = max(servesUntil, sent + (settings.stalenessLimit - max(.zero, age)))
  }

  /// The stream is lost: nothing is known any more.
  mutating func disconnect(at now: Instant) {
    view = nil
    flush(now)
    keepsFrom = nil
    pings = []
  }

  /// The time for a ping has come. The ping counts as sent now.
  mutating func tick(at now: Instant) -> Tick {
    if let oldest = pings.first, oldest.sent.duration(to: now) >= settings.silenceLimit {
      return .giveUp
    }
    guard let lastLook, lastLook.duration(to: now) < settings.idleLimit else {
      isIdle = true
      pings = []
      return .idle
    }
    isIdle = false
    lastPing += 1
    if pings.count == settings.pings { pings.removeFirst() }
    pings.append((lastPing, now))
    defer { nearHits = 0 }
    return .ping(lastPing, nearHits: nearHits)
  }

  // MARK: Use

  /// A copy that is fresh and not known to be void.
  mutating func look(_ key: String, at now: Instant) -> Look {
    lastLook = now
    guard isInSync(at: now), let copy = copies.get(key, now: now) else {
      defer { isIdle = false }
      return .miss(wakes: isIdle)
    }
    guard isCurrent(copy, key) else {
      copies.remove(key)
      return .miss(wakes: false)
    }
    nearHits += 1
    hits += 1
    guard now >= copy.refreshes else {
      return .hit(copy.value, wantsRefresh: false)
    }
    // Should that come to nothing, once more in the middle of what is left.
    copy.refreshes = now + now.duration(to: copy.expires) / 2
    return .hit(copy.value, wantsRefresh: true)
  }

  private func isCurrent(_ copy: Copy, _ key: String) -> Bool {
    guard let last = view?.lastOfMany else { return false }
    guard copy.checked < last else { return true }
    guard view?.isCurrent(stamp: copy.checked, key: key, tags: copy.tags) ?? false else {
      return false
    }
    copy.checked = last
    return true
  }

  /// A call about a key begins. ``end(_:)`` has to follow.
  mutating func begin(_ key: String, at now: Instant) -> Ticket {
    placeholders[key, default: Placeholder()].calls += 1
    return Ticket(key: key, began: now)
  }

  mutating func end(_ ticket: Ticket) {
    guard var placeholder = placeholders[ticket.key] else { return }
    placeholder.calls -= 1
    placeholders[ticket.key] = placeholder.calls > 0 ? placeholder : nil
  }

  /// Whether the stream has told that something is void. What belongs to another life of the cache
  /// nothing is known about.
  func isKnownVoid(_ key: String, _ position: CachePosition, tags: [String]) -> Bool {
    guard let view, position.epoch == view.epoch else { return false }
    if let placeholder = placeholders[key], position.sequence < placeholder.lastInvalidation {
      return true
    }
    return !view.isCurrent(stamp: position.sequence, key: key, tags: tags)
  }

  /// Keeps what a call has answered, if it is sure to be current.
  ///
  /// - Returns: whether it is kept.
  @discardableResult
  mutating func keep(_ answer: Answer, of ticket: Ticket, at now: Instant) -> Bool {
    guard let view, answer.position.epoch == view.epoch, let keepsFrom, ticket.began >= keepsFrom,
      !isKnownVoid(ticket.key, answer.position, tags: answer.tags)
    else {
      refusals += 1
      return false
    }
    let copy = Copy(answer, began: ticket.began)
    guard now < copy.expires else { return false }
    if let other = copies.get(ticket.key, now: now) {
      // Answers may come in another order than they were given in.
      guard (other.stamp, other.expires) <= (copy.stamp, copy.expires) else { return false }
    }
    return copies.set(
      ticket.key, copy, weight: answer.valueBytes + Copy.bytes, expires: copy.expires, now: now)
  }

  // MARK: What this process itself makes void

  /// Keys were invalidated, deleted or set from here: no copy of before is given any more.
  mutating func forget(_ keys: [String], before position: CachePosition, now: Instant) {
    // Of another life than the stream's nothing can be compared.
    let isSame = view.map { $0.epoch == position.epoch } ?? true
    drop(keys, below: isSame ? position.sequence : .max, now: now)
  }

  /// Tags or patterns were invalidated from here: no copy is given before the stream has told it.
  mutating func forgetAll(before position: CachePosition, now: Instant) {
    guard let view else { return }
    guard view.epoch == position.epoch else { return flush(now) }
    guard view.sequence < position.sequence else { return }
    reach = CachePosition(
      epoch: view.epoch, sequence: max(reach?.sequence ?? 0, position.sequence))
  }
}
