import KeelsonCore
package import KeelsonTransport

/// When a subscription is tried again, and when it is given up as silent.
package struct SubscriptionPolicy: Sendable {
  /// The waits after failures that may pass by themselves.
  package var backoff = ConnectionBackoff(initial: .milliseconds(200), maximum: .seconds(15))
  /// The wait after a refusal, which only an admin can change.
  package var refusalInterval: Duration = .seconds(30)
  /// A stream that ran this long makes up for the failures before it.
  package var stableAfter: Duration = .seconds(10)
  /// How often the server says something, until it has told.
  package var assumedHeartbeatInterval: Duration = .seconds(30)
  /// What a server may tell; anything outside is taken as the nearest bound.
  package var heartbeatIntervals: ClosedRange<Duration> = .milliseconds(100)...(.seconds(3_600))
  /// A server that is silent for this many heartbeat intervals is given up.
  package var silentIntervals = 2

  package init() {}

  /// Whether a failure is one that waiting alone does not cure.
  func isRefusal(_ code: RPCError.Code) -> Bool {
    let refusals: [RPCError.Code] = [
      .unimplemented, .invalidArgument, .notFound, .permissionDenied, .unauthenticated,
      .failedPrecondition,
    ]
    return refusals.contains(code)
  }

  /// Whether the stream may go on from the last revision after a failure. After one that is not
  /// about the connection or the server's load, only a snapshot is beyond doubt.
  func mayResume(after code: RPCError.Code) -> Bool {
    let harmless: [RPCError.Code] = [
      .ok, .cancelled, .unavailable, .deadlineExceeded, .resourceExhausted, .aborted,
    ]
    return harmless.contains(code)
  }
}
