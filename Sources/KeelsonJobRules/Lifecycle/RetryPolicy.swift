/// How often a failed job runs again, and how long it waits before.
package struct RetryPolicy: Sendable, Hashable {
  /// Retries at most that a job may ask for.
  package static let mostRetries = 100

  /// How often it runs again after the first attempt; 0 to ``mostRetries`` (SYS-117: 3).
  package var maximumRetries = 3
  /// How long it waits before the first retry.
  package var initialDelay: Duration = .seconds(1)
  /// What each further delay is multiplied by; from 1.
  package var multiplier = 2.0
  /// No delay is longer, jitter apart.
  package var maximumDelay: Duration = .seconds(3_600)
  /// The share of a delay that chance adds or takes away, so that what failed together does not
  /// return together; 0 to 1.
  package var jitter = 0.2

  package init() {}

  /// How long to wait before a retry, the first being 1.
  ///
  /// - Parameter chance: from 0 to 1; 0.5 takes the delay as it is.
  package func delay(beforeRetry retry: Int, chance: Double) -> Duration {
    let limit = maximumDelay / .seconds(1)
    var seconds = min(initialDelay / .seconds(1), limit)
    // Ends as soon as the limit is reached, whatever the number of retries.
    var number = 1
    while number < retry, seconds < limit, multiplier > 1 {
      seconds = min(seconds * multiplier, limit)
      number += 1
    }
    return .seconds(seconds * (1 + jitter * (2 * chance - 1)))
  }
}
