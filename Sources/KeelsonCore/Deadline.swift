/// A moment after which nobody waits for an answer any more.
public struct Deadline: Sendable, Hashable, Comparable {
  /// The moment, on the monotonic clock of this process.
  public let instant: ContinuousClock.Instant

  public init(_ instant: ContinuousClock.Instant) {
    self.instant = instant
  }

  /// The deadline this far from now.
  public init(after timeout: Duration) {
    instant = ContinuousClock.now.advanced(by: timeout)
  }

  /// How much time is left; negative once it has passed.
  public var remaining: Duration { ContinuousClock.now.duration(to: instant) }

  public static func < (lhs: Deadline, rhs: Deadline) -> Bool { lhs.instant < rhs.instant }
}
