/// The tokens of a channel's ``RetryThrottling``.
package struct RetryThrottle {
  /// In thousandths, so that sums are exact.
  private let maximum: Int
  private let gain: Int
  private var tokens: Int

  package init(_ throttling: RetryThrottling) {
    maximum = throttling.maximumTokens * 1_000
    gain = Int(min(throttling.tokenRatio * 1_000, Double(maximum)))
    tokens = maximum
  }

  /// Whether there may be retries.
  package var allowsRetries: Bool { tokens > maximum / 2 }

  /// A call failed in a way that is worth a retry, or the server asked not to retry.
  package mutating func failed() {
    tokens = max(0, tokens - 1_000)
  }

  package mutating func succeeded() {
    tokens = min(maximum, tokens + gain)
  }
}
