public import KeelsonCore

/// When and how often calls of a method are tried again. Source: gRFC A6.
///
/// What a policy permits depends on how its ``MethodConfig`` names the method: named itself, a
/// call is tried again also when the server may have seen it, whatever that does there; covered by
/// its service's name or by the default only, just when the method is idempotent, or when the
/// server cannot have seen the call.
public struct RetryPolicy: Sendable, Hashable {
  /// More are never made, whatever a policy says: gRFC A6.
  public static let mostAttempts = 5

  /// How often a call is made at most, the first time included; from 2 to ``mostAttempts``.
  public var maximumAttempts: Int
  /// How long to wait before the second attempt, give or take a fifth at random.
  public var initialBackoff: Duration
  /// The wait does not grow beyond this.
  public var maximumBackoff: Duration
  /// What the wait is multiplied with after each further attempt.
  public var backoffMultiplier: Double
  /// The statuses that are worth another attempt.
  public var retryableCodes: Set<RPCError.Code>

  public init(
    maximumAttempts: Int = 3, initialBackoff: Duration = .milliseconds(100),
    maximumBackoff: Duration = .seconds(1), backoffMultiplier: Double = 2,
    retryableCodes: Set<RPCError.Code> = [.unavailable]
  ) {
    self.maximumAttempts = maximumAttempts
    self.initialBackoff = initialBackoff
    self.maximumBackoff = maximumBackoff
    self.backoffMultiplier = backoffMultiplier
    self.retryableCodes = retryableCodes
  }

  /// How long to wait after so many retries.
  func backoff(afterRetries retries: Int, using random: inout some RandomNumberGenerator)
    -> Duration
  {
    var wait = initialBackoff
    for _ in 0..<retries where wait < maximumBackoff { wait = wait * backoffMultiplier }
    return min(wait, maximumBackoff) * Double.random(in: 0.8...1.2, using: &random)
  }
}

/// A budget for a channel's retries, so that they do not add to the load of a server that cannot
/// bear what it has. Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs".
public struct RetryThrottling: Sendable, Hashable {
  /// How many tokens there are at first, and at most; from 1 to 1000. A failure takes one; there
  /// are no retries while half of them or fewer are left.
  public var maximumTokens: Int
  /// How many tokens a call that succeeds gives back; over 0, three decimals count.
  public var tokenRatio: Double

  public init(maximumTokens: Int = 100, tokenRatio: Double = 0.1) {
    self.maximumTokens = maximumTokens
    self.tokenRatio = tokenRatio
  }
}
