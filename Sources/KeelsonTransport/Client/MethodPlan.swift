import KeelsonCore

/// What all calls of one method on one channel have in common, found out once.
final class MethodPlan {
  let isIdempotent: Bool
  /// The header fields that are the same each time.
  let fields: HTTP2Fields
  let retryPolicy: RetryPolicy?
  /// Whether the policy holds also for what the server may have seen.
  let repeatsWhatWasSeen: Bool
  let waitForReady: Bool
  /// The longest a call may take, whatever it says itself.
  let longestTimeout: Duration?
  /// The timeout of a call that says none.
  let defaultTimeout: Duration?
  let maximumRequestBytes: Int
  let maximumResponseBytes: Int

  init(
    _ method: MethodDescriptor, target: Target, isSecure: Bool = false,
    _ configuration: ChannelConfiguration
  ) {
    isIdempotent = method.isIdempotent
    let (config, isExplicit): (MethodConfig?, Bool) =
      configuration.serviceConfig.config(for: method).map { ($0.config, $0.isExplicit) }
      ?? (nil, false)
    retryPolicy = config?.retryPolicy
    repeatsWhatWasSeen = isExplicit || method.isIdempotent
    waitForReady = config?.waitForReady ?? false
    longestTimeout = config?.timeout
    defaultTimeout =
      config?.timeout ?? (method.kind == .unary ? configuration.unaryTimeout : nil)
    maximumRequestBytes = min(
      configuration.maximumRequestBytes, config?.maximumRequestBytes ?? .max)
    maximumResponseBytes = min(
      configuration.maximumResponseBytes, config?.maximumResponseBytes ?? .max)

    var fields = HTTP2Fields()
    fields.append(":method", "POST")
    fields.append(":scheme", isSecure ? "https" : "http")
    fields.append(":path", method.path)
    fields.append(":authority", target.authority)
    fields.append("te", "trailers")
    fields.append("content-type", "application/grpc")
    fields.append("grpc-accept-encoding", MessageEncoding.accepted)
    fields.append("user-agent", configuration.userAgent)
    self.fields = fields
  }

  /// When a call that began at a moment has to be over.
  func deadline(_ timeout: Duration?, from start: ContinuousClock.Instant) -> Deadline? {
    guard let timeout = timeout ?? defaultTimeout else { return nil }
    // A moment further away than a hundred years may not be one that the clock can say.
    let shortest = min(timeout, longestTimeout ?? timeout, .seconds(100 * 365 * 86_400))
    return Deadline(start.advanced(by: shortest))
  }
}
