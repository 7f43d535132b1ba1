import KeelsonCacheRules
import Synchronization

/// What this server knows of what has become void in Redis, and as of when. Written by the link to Redis
/// on its loop, read by everybody.
///
/// Times are nanoseconds of ``MonotonicTime``.
final class KnownInvalidations: Sendable {
  /// What commands need to know.
  struct Link: Sendable {
    var epoch: UInt64
    /// The epoch as the scripts have it.
    var epochText: String
    /// The Redis process that all this is about: see ``RedisInformation/runID``.
    var runID: UInt64
    /// By ``RedisScript``, the digests by which Redis knows them.
    var digests: [[UInt8]]
  }

  private enum Need {
    case asOf(Int64)
    case sequence(CachePosition)
    case otherEpoch(UInt64)
  }

  private struct Waiter {
    var need: Need
    var due: Int64
    var continuation: CheckedContinuation<Bool, Never>
  }

  private struct State {
    var link: Link?
    var view = InvalidationView(epoch: 0)
    /// When the view was read: what was asked for before may be of bans that it does not have.
    var readAt: Int64 = 0
    var failure = RedisError(.unreachable, "There is no connection to Redis yet.")
    var waiters: [Waiter] = []
  }

  private let state = Mutex(State())
  /// All that had become void by then is known; ``never`` while that cannot be said.
  private let asOfTime = Atomic<Int64>(never)
  private static let never = Int64.min / 2

  // MARK: Reading

  /// - Throws: ``RedisError`` that says why nothing is known.
  func link() throws(RedisError) -> Link {
    // A typed error does not come out of the lock's closure.
    let (link, failure) = state.withLock { ($0.link, $0.failure) }
    guard let link else { throw failure }
    return link
  }

  /// When all that had become void was known; nil while that cannot be said.
  var asOf: Int64? {
    let time = asOfTime.load(ordering: .acquiring)
    return time == Self.never ? nil : time
  }

  /// Where the order of all invalidations is known to; nil while nothing is known.
  var position: CachePosition? {
    state.withLock { state in
      state.link.map { CachePosition(epoch: $0.epoch, sequence: state.view.sequence) }
    }
  }

  enum Judgement<Value: Sendable>: Sendable {
    case judged(Value)
    /// The view was read after what is to be judged was asked for.
    case tooOld
    /// Nothing is known of that process.
    case unknown
  }

  /// Hands over the view, to judge what a process was asked for at a time.
  func withView<Value: Sendable>(
    of runID: UInt64, askedAt time: Int64, _ body: (InvalidationView) -> Value
  ) -> Judgement<Value> {
    state.withLock { state in
      guard let link = state.link, link.runID == runID else { return .unknown }
      return time < state.readAt ? .tooOld : .judged(body(state.view))
    }
  }

  /// The view as it is; nil while nothing is known.
  var view: InvalidationView? { state.withLock { $0.link == nil ? nil : $0.view } }

  /// How many patterns wait for a sweep.
  var bans: Int { state.withLock { $0.view.bans.count } }

  // MARK: Waiting

  /// Waits until it is known what had become void by a time; false when that is not so in time.
  func wait(asOf time: Int64, until due: Int64) async -> Bool {
    await wait(for: .asOf(time), until: due)
  }

  /// Waits until the view has come to a position, or is of another epoch.
  func wait(for position: CachePosition, until due: Int64) async -> Bool {
    await wait(for: .sequence(position), until: due)
  }

  /// Waits until the epoch is another one.
  func waitForEpoch(otherThan epoch: UInt64, until due: Int64) async -> Bool {
    await wait(for: .otherEpoch(epoch), until: due)
  }

  private func wait(for need: Need, until due: Int64) async -> Bool {
    await withCheckedContinuation { continuation in
      let answer = state.withLock { state -> Bool? in
        if isMet(need, state) { return true }
        if state.link == nil { return false }
        state.waiters.append(Waiter(need: need, due: due, continuation: continuation))
        return nil
      }
      if let answer { continuation.resume(returning: answer) }
    }
  }

  private func isMet(_ need: Need, _ state: State) -> Bool {
    guard let link = state.link else { return false }
    switch need {
    case .asOf(let time): return asOfTime.load(ordering: .relaxed) >= time
    case .sequence(let position):
      return link.epoch != position.epoch || state.view.sequence >= position.sequence
    case .otherEpoch(let epoch): return link.epoch != epoch
    }
  }

  private func resumeMet() {
    let met = take { state, waiter in isMet(waiter.need, state) }
    for waiter in met { waiter.continuation.resume(returning: true) }
  }

  /// Lets go of who has waited too long.
  func expire(now: Int64) {
    let late = take { _, waiter in waiter.due <= now }
    for waiter in late { waiter.continuation.resume(returning: false) }
  }

  /// Takes out the waiters of whom something is true.
  private func take(_ isWanted: (State, Waiter) -> Bool) -> [Waiter] {
    state.withLock { state in
      guard !state.waiters.isEmpty else { return [] }
      let wanted = state.waiters.map { isWanted(state, $0) }
      defer { state.waiters = zip(state.waiters, wanted).filter { !$1 }.map(\.0) }
      return zip(state.waiters, wanted).filter(\.1).map(\.0)
    }
  }

  // MARK: Writing, on the link's loop

  /// The view was read. Times have to be told anew.
  func begin(_ link: Link, _ view: InvalidationView) {
    // The one before is let go of outside of the lock: it may be large.
    let before = state.withLock { state in
      defer {
        state.link = link
        state.view = view
        state.readAt = MonotonicTime.now
      }
      return state.view
    }
    withExtendedLifetime(before) { resumeMet() }
  }

  /// Nothing is known any more.
  func end(_ failure: RedisError) {
    asOfTime.store(Self.never, ordering: .releasing)
    // The view is let go of outside of the lock: it may be large.
    let (waiters, before) = state.withLock { state in
      defer {
        state.link = nil
        state.view = InvalidationView(epoch: 0)
        state.failure = failure
        state.waiters = []
      }
      return (state.waiters, state.view)
    }
    withExtendedLifetime(before) {
      for waiter in waiters { waiter.continuation.resume(returning: false) }
    }
  }

  /// The view is read anew: what is known is not all.
  func suspend() {
    asOfTime.store(Self.never, ordering: .releasing)
  }

  func apply(_ invalidation: Invalidation) -> InvalidationView.Outcome {
    let outcome = state.withLock { $0.view.apply(invalidation) }
    if outcome == .applied { resumeMet() }
    return outcome
  }

  func dropBans(upTo sequence: UInt64) {
    state.withLock { $0.view.dropBans(upTo: sequence) }
  }

  /// All that had become void by a time has been taken in.
  func advance(to time: Int64) {
    if time > asOfTime.load(ordering: .relaxed) { asOfTime.store(time, ordering: .releasing) }
    resumeMet()
  }
}
