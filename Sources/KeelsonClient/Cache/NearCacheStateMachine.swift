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
/// - What this process makes void itself counts from then on, before the stream tells it.
///
/// What calls answer, and what loads bring, it judges by the same knowledge: ``judge(_:_:at:)``.
struct NearCacheStateMachine<Value: Sendable>: ~Copyable {
  typealias Instant = CacheInstant

  struct Settings: Sendable {
    /// Bytes that all copies may take; 0: none are kept.
    var byteLimit: Int
    /// How old what a copy says may be. A server that promises less is held to that.
    var stalenessLimit: Duration
    /// A stream on which a ping is not answered for this long is given up.
    var silenceLimit: Duration = .seconds(2)
    /// Without a look for this long no pings are sent.
    var idleLimit: Duration = .seconds(1)
    /// Tags, and patterns, whose invalidations are remembered until all copies have been compared
    /// with them. One more, and all copies go.
    var tags = 10_000
    var patterns = 1_000
    /// How much of what this process has made void by tags and patterns is remembered. What was true
    /// before that counts as void.
    var own = 256
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
    /// So many pings wait for their pongs that no more are sent.
    case full
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
    /// What has a lower stamp of the same epoch is void.
    var invalidated: CachePosition?
    /// When this process took it out, at a place that nobody has said.
    var dropped: Instant?
  }

  /// What a call of this process has made void by tags or patterns: who has answered what was true
  /// before may not have known of it.
  private struct Own {
    var scopes: [Invalidation.Scope]
    var position: CachePosition
    var time: Instant

    /// What belongs to another life of the cache cannot be compared, and counts as older.
    func voids(_ key: String, _ other: CachePosition, tags: [String]) -> Bool {
      guard other.epoch != position.epoch || other.sequence < position.sequence else {
        return false
      }
      return scopes.contains { scope in
        switch scope {
        case .keys(let keys): keys.contains(key)
        case .tags(let names): names.contains { tags.contains($0) }
        case .pattern(let pattern): pattern.matches(key)
        case .all: true
        }
      }
    }
  }

  /// A pass over all copies. At its end no copy needs what the view has known at its beginning.
  private struct Sweep {
    var sequence: UInt64
    var began: Instant
    var slot = 0
  }

  private let settings: Settings
  private var copies: CacheTable<Copy>
  private var placeholders: [BytewiseKey: Placeholder] = [:]
  /// What the stream has told; nil without one.
  private var view: InvalidationView?
  private var sweep: Sweep?
  /// How old what the servers give may be, as the last stream has said.
  private var serversLimit: Duration?
  /// The view says of nothing that was true before this whether it still is.
  private(set) var knowsFrom: Instant?
  /// How long what is known will do.
  private var servesUntil = Instant(microseconds: .min)
  private var own: [Own] = []
  /// Of the last of them that was let go of.
  private var ownTime: Instant?
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
    now < servesUntil
  }

  // MARK: How old

  /// How old what is given may be: the smaller of what the servers promise to everybody, whoever made
  /// something void counts on it, and of what this process bears.
  var limit: Duration {
    serversLimit.map { min($0, settings.stalenessLimit) } ?? settings.stalenessLimit
  }

  /// How far behind a server may be, at most: what is believed too early is never found out, so here
  /// the larger counts.
  private var longestLimit: Duration {
    serversLimit.map { max($0, settings.stalenessLimit) } ?? settings.stalenessLimit
  }

  /// As of when the answer to a call is true. A server may be behind by half of the limit; the other
  /// half is the call's.
  func asOf(_ asked: Instant) -> Instant { asked + (.zero - limit / 2) }

  /// From when on something has to be true for a view that begins now to say whether it still is.
  private func known(from now: Instant) -> Instant { now + longestLimit / 2 }

  // MARK: The stream

  /// A stream begins, or begins anew.
  ///
  /// - Parameter staleness: how old what the servers give may be; nil: they do not say.
  mutating func start(at position: CachePosition, staleness: Duration? = nil, now: Instant) {
    if let staleness, staleness > .zero { serversLimit = staleness }
    view = InvalidationView(epoch: position.epoch, sequence: position.sequence)
    flush(now)
  }

  private mutating func flush(_ now: Instant) {
    copies.removeAll(now: now)
    sweep = nil
    knowsFrom = known(from: now)
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
    case .applied: invalidations += 1
    }
    switch invalidation.scope {
    case .keys(let keys):
      drop(
        keys, below: CachePosition(epoch: view.epoch, sequence: invalidation.sequence), now: now)
    case .all: copies.removeAll(now: now)
    case .tags(let names): compare(names.count, ofAtMost: settings.tags, now: now)
    case .pattern: compare(1, ofAtMost: settings.patterns, now: now)
    }
  }

  private mutating func drop(_ keys: [String], below position: CachePosition, now: Instant) {
    for key in keys {
      if let copy = copies.get(key, now: now), copy.stamp < position.sequence {
        copies.remove(key)
      }
      let id = BytewiseKey(key)
      guard let placeholder = placeholders[id] else { continue }
      if let last = placeholder.invalidated, last.epoch == position.epoch,
        last.sequence >= position.sequence
      {
        continue
      }
      placeholders[id]?.invalidated = position
    }
  }

  /// Names were added to the view. From half of its room on copies are compared with it, each time so
  /// many that all have been long before it is full; then what it knew at the beginning is forgotten.
  private mutating func compare(_ names: Int, ofAtMost limit: Int, now: Instant) {
    guard let view else { return }
    guard view.tags.count <= settings.tags, view.bans.count <= settings.patterns else {
      return start(at: CachePosition(epoch: view.epoch, sequence: view.sequence), now: now)
    }
    guard
      sweep != nil || view.tags.count > settings.tags / 2
        || view.bans.count > settings.patterns / 2
    else { return }
    var sweep = sweep ?? Sweep(sequence: view.sequence, began: now)
    let budget = 1 + copies.capacity * 4 * names / limit
    sweep.slot = copies.removeAll(inSlots: sweep.slot..<sweep.slot + budget) { key, copy in
      !Self.isCurrent(copy, key, by: view)
    }
    guard sweep.slot >= copies.capacity else {
      self.sweep = sweep
      return
    }
    self.sweep = nil
    self.view?.forget(upTo: sweep.sequence)
    // Answers of before may not have been compared.
    knowsFrom = knowsFrom.map { max($0, known(from: sweep.began)) }
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
    servesUntil = max(servesUntil, sent + (limit - max(.zero, age)))
  }

  /// The stream is lost: nothing is known any more.
  mutating func disconnect(at now: Instant) {
    view = nil
    flush(now)
    knowsFrom = nil
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
    // The oldest says how long the server has been silent.
    guard pings.count < settings.pings else { return .full }
    lastPing += 1
    pings.append((lastPing, now))
    defer { nearHits = 0 }
    return .ping(lastPing, nearHits: nearHits)
  }

  // MARK: Use

  /// A copy that is fresh and not known to be void.
  mutating func look(_ key: String, at now: Instant) -> Look {
    lastLook = now
    guard isInSync(at: now), ownTime.map({ isTold($0, at: now) }) ?? true,
      let last = view?.lastOfMany, let copy = copies.get(key, now: now)
    else {
      defer { isIdle = false }
      return .miss(wakes: isIdle)
    }
    guard copy.checked >= last || isCurrent(copy, key),
      own.isEmpty || !isOwnVoid(copy, key, at: now)
    else {
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
    view.map { Self.isCurrent(copy, key, by: $0) } ?? false
  }

  private static func isCurrent(_ copy: Copy, _ key: String, by view: InvalidationView) -> Bool {
    guard copy.checked < view.lastOfMany else { return true }
    guard view.isCurrent(stamp: copy.checked, key: key, tags: copy.tags) else { return false }
    copy.checked = view.lastOfMany
    return true
  }

  /// Whether the stream has told what this process did then, if it is in sync.
  private func isTold(_ time: Instant, at now: Instant) -> Bool {
    time.duration(to: now) >= longestLimit
  }

  private func isOwnVoid(_ copy: Copy, _ key: String, at now: Instant) -> Bool {
    guard let view else { return false }
    let position = CachePosition(epoch: view.epoch, sequence: copy.stamp)
    // The newest are the last.
    for own in self.own.reversed() {
      if isTold(own.time, at: now) { return false }
      if own.voids(key, position, tags: copy.tags) { return true }
    }
    return false
  }

  private func isOwnVoid(
    _ key: String, _ position: CachePosition, tags: [String], asOf: Instant
  ) -> Bool {
    // Servers may be further behind than is counted.
    let known = asOf + (limit - longestLimit) / 2
    if let ownTime, known < ownTime { return true }
    return own.contains { known < $0.time && $0.voids(key, position, tags: tags) }
  }

  /// A call about a key begins. ``end(_:)`` has to follow.
  mutating func begin(_ key: String, at now: Instant) -> Ticket {
    placeholders[BytewiseKey(key), default: Placeholder()].calls += 1
    return Ticket(key: key, began: now)
  }

  mutating func end(_ ticket: Ticket) {
    let id = BytewiseKey(ticket.key)
    guard var placeholder = placeholders[id] else { return }
    placeholder.calls -= 1
    placeholders[id] = placeholder.calls > 0 ? placeholder : nil
  }

  /// Whether something that came of a call or a load may be given now.
  func judge(_ key: String, _ value: CacheProvenance, at now: Instant) -> CacheProvenance.Judgement
  {
    let isYoung = value.asOf.duration(to: now) < limit
    guard let position = value.position else { return isYoung ? .current : .late }
    if isOwnVoid(key, position, tags: value.tags, asOf: value.asOf) { return .void }
    if isOvertaken(key, position, tags: value.tags) { return .overtaken }
    return isYoung || isInSync(at: now) && isKnown(value) ? .current : .late
  }

  /// Whether the stream has told that something is void. What belongs to another life of the cache
  /// nothing is known about.
  private func isOvertaken(_ key: String, _ position: CachePosition, tags: [String]) -> Bool {
    if let last = placeholders[BytewiseKey(key)]?.invalidated, last.epoch == position.epoch,
      position.sequence < last.sequence
    {
      return true
    }
    guard let view, position.epoch == view.epoch else { return false }
    return !view.isCurrent(stamp: position.sequence, key: key, tags: tags)
  }

  /// Whether the stream would have told that it is void.
  private func isKnown(_ value: CacheProvenance) -> Bool {
    guard let view, let knowsFrom else { return false }
    return value.position?.epoch == view.epoch && value.asOf >= knowsFrom
  }

  /// Keeps what a call has answered, if it is sure to be current.
  ///
  /// - Returns: whether it is kept.
  @discardableResult
  mutating func keep(_ answer: Answer, of ticket: Ticket, at now: Instant) -> Bool {
    let provenance = CacheProvenance(
      position: answer.position, tags: answer.tags, asOf: asOf(ticket.began))
    let dropped = placeholders[BytewiseKey(ticket.key)]?.dropped
    guard isKnown(provenance), let view, dropped.map({ ticket.began >= $0 }) ?? true,
      !isOvertaken(ticket.key, answer.position, tags: answer.tags),
      !isOwnVoid(
        ticket.key, answer.position, tags: answer.tags, asOf: provenance.asOf)
    else {
      refusals += 1
      return false
    }
    let copy = Copy(answer, began: ticket.began)
    guard now < copy.expires else { return false }
    copy.checked = max(copy.checked, view.lastOfMany)
    if let other = copies.get(ticket.key, now: now) {
      // Answers may come in another order than they were given in.
      guard (other.stamp, other.expires) <= (copy.stamp, copy.expires) else { return false }
    }
    return copies.set(
      ticket.key, copy, weight: answer.valueBytes + Copy.bytes, expires: copy.expires, now: now)
  }

  // MARK: What this process itself makes void

  /// What one call from here has invalidated, deleted or set: nothing of before is given any more.
  mutating func voided(_ scopes: [Invalidation.Scope], at position: CachePosition, now: Instant) {
    guard !scopes.isEmpty else { return }
    // Of another life than the stream's nothing can be compared.
    if let view, view.epoch != position.epoch { flush(now) }
    var others: [Invalidation.Scope] = []
    for scope in scopes {
      if case .keys(let keys) = scope {
        drop(keys, below: position, now: now)
      } else {
        others.append(scope)
      }
    }
    guard !others.isEmpty else { return }
    if own.count == settings.own { ownTime = own.removeFirst().time }
    own.append(Own(scopes: others, position: position, time: now))
  }

  /// A key was taken out from here, nobody says at which place. It alone goes, with what is under way;
  /// what a server that lags behind answers after this, the stream tells.
  mutating func dropped(_ key: String, now: Instant) {
    copies.remove(key)
    placeholders[BytewiseKey(key)]?.dropped = now
  }
}
