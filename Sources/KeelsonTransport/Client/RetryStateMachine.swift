package import KeelsonCore

/// Whether one call is tried again: failures of its attempts come in, decisions go out. There is
/// no I/O and no clock in here.
/// Source: gRFC A6; docs/decisions/0011.
package struct RetryStateMachine {
  /// How far an attempt may have got. What the server may have seen is repeated by policy only.
  package enum Reach: Sendable, Hashable {
    /// There was no connection for it.
    case noConnection
    /// It had a connection, but its headers never left.
    case notSent
    /// The server said that it has not looked at it: REFUSED_STREAM, or GOAWAY with a lower number.
    case refused
    /// Anything else: the server may be at work on it, or have answered.
    case perhapsSeen
  }

  /// What the server says of retries: `grpc-retry-pushback-ms`.
  package enum Pushback: Sendable, Hashable {
    case none
    case after(Duration)
    /// The header is negative or no number.
    case never

    /// Reads the header's value.
    package init(_ text: String?) {
      guard let text else {
        self = .none
        return
      }
      self = UInt32(text).map { .after(.milliseconds(Int64($0))) } ?? .never
    }
  }

  package enum Decision: Sendable, Hashable {
    /// The failure is the call's.
    case end
    /// At once, as if the attempt had not been: nobody has seen it.
    case repeatUnseen
    /// After this long, as one more attempt; then call ``resume()``.
    case retry(after: Duration)
  }

  private enum State {
    /// Can transition to: pausing, committed.
    case attempting
    /// Can transition to: attempting, committed.
    case pausing
    /// The outcome of this attempt is the call's.
    case committed
  }

  private let policy: RetryPolicy?
  private let repeatsWhatWasSeen: Bool
  private var state = State.attempting
  private var hasBeenRefused = false
  /// Since the server last said when to retry.
  private var retriesByBackoff = 0

  /// How many attempts have been made, apart from those that nobody has seen.
  package private(set) var attempts = 1

  /// - Parameter repeatsWhatWasSeen: whether the policy holds also for attempts that the server
  ///   may have seen: it names the method itself, or the method is idempotent.
  package init(policy: RetryPolicy?, repeatsWhatWasSeen: Bool) {
    self.policy = policy
    self.repeatsWhatWasSeen = repeatsWhatWasSeen
  }

  package var isCommitted: Bool {
    if case .committed = state { true } else { false }
  }

  /// The response has begun, the request is too long to be kept, or the caller has ended the
  /// call: from now on nothing is repeated.
  package mutating func commit() {
    state = .committed
  }

  /// The pause of ``Decision/retry(after:)`` is over. False: the call was committed meanwhile.
  package mutating func resume() -> Bool {
    guard case .pausing = state else { return false }
    state = .attempting
    return true
  }

  /// The attempt has failed.
  package mutating func failed(
    _ code: RPCError.Code, _ reach: Reach, pushback: Pushback = .none,
    throttle: inout RetryThrottle?, using random: inout some RandomNumberGenerator
  ) -> Decision {
    guard case .attempting = state else { return .end }
    switch reach {
    case .notSent: return .repeatUnseen
    case .refused where !hasBeenRefused:
      // Once only: a server that goes on refusing is to be left in peace.
      hasBeenRefused = true
      return .repeatUnseen
    case .noConnection, .refused, .perhapsSeen: break
    }
    guard let policy else { return end() }
    let isRetryable = policy.retryableCodes.contains(code)
    if isRetryable || pushback == .never { throttle?.failed() }
    guard isRetryable, pushback != .never, attempts < policy.maximumAttempts,
      reach != .perhapsSeen || repeatsWhatWasSeen, throttle?.allowsRetries ?? true
    else { return end() }
    attempts += 1
    state = .pausing
    if case .after(let pause) = pushback {
      retriesByBackoff = 0
      return .retry(after: pause)
    }
    defer { retriesByBackoff += 1 }
    return .retry(after: policy.backoff(afterRetries: retriesByBackoff, using: &random))
  }

  private mutating func end() -> Decision {
    state = .committed
    return .end
  }
}
