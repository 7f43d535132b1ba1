/// Whether the cache is asked at all, without I/O and without a clock of its own: when calls have
/// failed one after the other, there are none for a while, then one at a time.
struct CacheBreaker: Sendable {
  typealias Instant = ContinuousClock.Instant

  private enum State: Sendable {
    /// Can transition to: open.
    case closed(failures: Int)
    /// Can transition to: trying.
    case open(until: Instant)
    /// One call is under way that decides. When nobody has told its end by then, another does. Can
    /// transition to: closed, open.
    case trying(until: Instant)
  }

  /// Failures in a row.
  static let failureLimit = 5
  static let pause: Duration = .seconds(1)

  private var state = State.closed(failures: 0)

  /// Whether a call may be made; what became of it is to be told.
  mutating func permits(at now: Instant) -> Bool {
    switch state {
    case .closed: return true
    case .open(let until), .trying(let until):
      guard now >= until else { return false }
      state = .trying(until: now + Self.pause)
      return true
    }
  }

  mutating func succeeded() {
    state = .closed(failures: 0)
  }

  mutating func failed(at now: Instant) {
    switch state {
    case .closed(let failures) where failures + 1 < Self.failureLimit:
      state = .closed(failures: failures + 1)
    case .closed, .open, .trying: state = .open(until: now + Self.pause)
    }
  }

  var isClosed: Bool {
    if case .closed = state { true } else { false }
  }
}
