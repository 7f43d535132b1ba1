/// Whether calls go to an engine that may be broken. No I/O, no clock of its own. Source: SYS-115.
///
/// - closed: calls go there. Can transition to: open.
/// - open: none do. Can transition to: half-open.
/// - half-open: only probes do. Can transition to: closed, open.
package struct CircuitBreaker: Sendable {
  package struct Settings: Sendable, Hashable {
    /// Failures one after the other that open it.
    package var failures = 5
    /// How long it stays open before it is tried again.
    package var openFor: Duration = .seconds(30)
    /// Probes that have to succeed one after the other until it closes.
    package var successes = 3

    package init() {}
  }

  package enum State: Sendable, Hashable {
    /// With this many failures one after the other.
    case closed(failures: Int)
    case open(until: ContinuousClock.Instant)
    /// With this many probes that succeeded.
    case halfOpen(successes: Int)
  }

  package private(set) var state = State.closed(failures: 0)
  private let settings: Settings

  package init(settings: Settings = Settings()) {
    self.settings = settings
  }

  package var isClosed: Bool {
    if case .closed = state { true } else { false }
  }

  /// Whether failures were counted since the last success.
  package var hasFailures: Bool { state != .closed(failures: 0) }

  /// A call has succeeded that began while it was closed. No more than that: what an open one hears
  /// late says nothing.
  package mutating func succeed() {
    if case .closed = state { state = .closed(failures: 0) }
  }

  /// A call has failed that began while it was closed.
  ///
  /// - Returns: whether that opened it.
  package mutating func fail(at now: ContinuousClock.Instant) -> Bool {
    guard case .closed(let failures) = state else { return false }
    guard failures + 1 >= settings.failures else {
      state = .closed(failures: failures + 1)
      return false
    }
    state = .open(until: now + settings.openFor)
    return true
  }

  /// Opens it whatever was counted.
  package mutating func open(at now: ContinuousClock.Instant) {
    state = .open(until: now + settings.openFor)
  }

  /// How long until the next probe is due; nil while it is closed.
  package func timeToProbe(at now: ContinuousClock.Instant) -> Duration? {
    switch state {
    case .closed: nil
    case .open(let until): max(.zero, until - now)
    case .halfOpen: .zero
    }
  }

  /// What a probe came to, of one made when it was due.
  ///
  /// - Returns: whether enough have succeeded: then ``close()`` it once all is in order.
  package mutating func probe(succeeded: Bool, at now: ContinuousClock.Instant) -> Bool {
    guard succeeded else {
      if !isClosed { state = .open(until: now + settings.openFor) }
      return false
    }
    switch state {
    case .closed: return false
    case .open: state = .halfOpen(successes: 1)
    case .halfOpen(let successes): state = .halfOpen(successes: successes + 1)
    }
    guard case .halfOpen(let successes) = state else { return false }
    return successes >= settings.successes
  }

  /// Calls go there again.
  package mutating func close() {
    state = .closed(failures: 0)
  }
}
