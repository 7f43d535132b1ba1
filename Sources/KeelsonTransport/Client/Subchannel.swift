/// What a channel has to one address: nothing, an attempt, a connection, or a pause before the
/// next attempt.
package struct Subchannel {
  package typealias Instant = ContinuousClock.Instant

  package enum State: Sendable, Hashable {
    /// Can transition to: connecting, spaced.
    case idle
    /// An attempt is wanted, but the last connection was lost too soon after it was made.
    /// Can transition to: connecting, idle.
    case spaced(until: Instant)
    /// Can transition to: ready, backingOff, idle.
    case connecting(attempt: Int, started: Instant)
    /// The attempt's number is the connection's.
    /// Can transition to: idle.
    case ready(connection: Int, started: Instant)
    /// The attempt failed.
    /// Can transition to: connecting, idle.
    case backingOff(until: Instant)
  }

  package let address: ServerAddress
  package private(set) var state = State.idle
  /// Why the last attempt failed; nil again once one succeeds.
  package private(set) var failure: ConnectionFailure?
  /// Attempts that failed since the last success.
  private var failures = 0
  /// Connections that were lost soon after they were made, one after the other.
  private var quickLosses = 0
  /// An idle subchannel connects no earlier than this.
  private var notBefore: Instant?

  package init(address: ServerAddress) {
    self.address = address
  }

  /// When ``wake(attempt:at:)`` is to be called.
  package var wakeUp: Instant? {
    switch state {
    case .spaced(let until), .backingOff(let until): until
    case .idle, .connecting, .ready: nil
    }
  }

  /// Whether a connection may come of it without anybody asking again.
  var isOnItsWay: Bool {
    switch state {
    case .spaced, .connecting: true
    case .idle, .ready, .backingOff: false
    }
  }

  /// A connection is wanted.
  ///
  /// - Returns: whether the attempt begins now; otherwise there is one, or it has to wait.
  package mutating func connect(attempt number: Int, at now: Instant) -> Bool {
    guard case .idle = state else { return false }
    if let notBefore, now < notBefore {
      state = .spaced(until: notBefore)
      return false
    }
    state = .connecting(attempt: number, started: now)
    return true
  }

  /// The moment of ``wakeUp`` has come.
  ///
  /// - Returns: whether the attempt begins now.
  package mutating func wake(attempt number: Int, at now: Instant) -> Bool {
    guard let wakeUp, now >= wakeUp else { return false }
    state = .connecting(attempt: number, started: now)
    return true
  }

  /// The attempt has become a connection.
  package mutating func connected() {
    guard case .connecting(let number, let started) = state else { return }
    state = .ready(connection: number, started: started)
    failure = nil
    failures = 0
  }

  /// The attempt has come to nothing.
  package mutating func failed(
    _ failure: ConnectionFailure, at now: Instant, backoff: ConnectionBackoff,
    using random: inout some RandomNumberGenerator
  ) {
    guard case .connecting(_, let started) = state else { return }
    let interval = backoff.interval(afterFailures: failures, using: &random)
    failures += 1
    self.failure = failure
    state = .backingOff(until: max(now, started.advanced(by: interval)))
  }

  /// The connection takes no more calls. One that was lost soon after it was made, twice in a
  /// row, is not made again at once: a server that turns its clients away is not to be hammered.
  package mutating func lost(
    at now: Instant, backoff: ConnectionBackoff, using random: inout some RandomNumberGenerator
  ) {
    guard case .ready(_, let started) = state else { return }
    state = .idle
    let interval = backoff.interval(afterFailures: max(0, quickLosses - 1), using: &random)
    let earliest = started.advanced(by: interval)
    notBefore = now < earliest && quickLosses > 0 ? earliest : nil
    quickLosses = now < earliest ? quickLosses + 1 : 0
  }

  /// Nobody wants a connection any more.
  package mutating func reset() {
    self = Subchannel(address: address)
  }
}
