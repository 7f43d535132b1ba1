/// How long to wait between attempts to connect.
/// Source: grpc/grpc `doc/connection-backoff.md`.
public struct ConnectionBackoff: Sendable, Hashable {
  /// The time from the start of the first attempt to the start of the second.
  public var initial: Duration
  /// What the time is multiplied with after each further failure.
  public var multiplier: Double
  /// How far, as a part of the time, it is moved at random to either side, so that many clients
  /// do not come back at the same moment.
  public var jitter: Double
  /// The time does not grow beyond this, jitter aside.
  public var maximum: Duration

  public init(
    initial: Duration = .seconds(1), multiplier: Double = 1.6, jitter: Double = 0.2,
    maximum: Duration = .seconds(120)
  ) {
    self.initial = initial
    self.multiplier = multiplier
    self.jitter = jitter
    self.maximum = maximum
  }

  /// The time that belongs to an attempt, measured from its start.
  ///
  /// - Parameter failures: how many attempts have failed before it since the last success.
  package func interval(
    afterFailures failures: Int, using random: inout some RandomNumberGenerator
  ) -> Duration {
    var interval = initial
    for _ in 0..<failures where interval < maximum { interval = interval * multiplier }
    interval = min(interval, maximum)
    guard jitter > 0 else { return interval }
    return interval * (1 + Double.random(in: -jitter...jitter, using: &random))
  }
}
