public import KeelsonCore

extension ChannelConfiguration {
  /// RFC 8305 section 5: the Minimum Connection Attempt Delay.
  static let minimumAttemptDelay: Duration = .milliseconds(10)
  /// What HTTP/2 has room for: RFC 9113 section 6.9.1.
  static let largestWindowBytes = Int(Int32.max)
  /// HTTP/2's initial window, below which a connection's cannot be set: RFC 9113 section 6.9.2.
  static let smallestWindowBytes = 65_535

  /// Looks whether the settings can be used.
  ///
  /// - Throws: INVALID_ARGUMENT that names the setting, what it may be and what it is.
  public func validate() throws(RPCError) {
    try positive(resolutionInterval, "resolutionInterval")
    try positive(connectTimeout, "connectTimeout")
    try positive(keepaliveInterval, "keepaliveInterval")
    try positive(keepaliveTimeout, "keepaliveTimeout")
    try positive(idleTimeout, "idleTimeout")
    try positive(unaryTimeout, "unaryTimeout")
    try positive(backoff.initial, "backoff.initial")
    try positive(backoff.maximum, "backoff.maximum")
    guard connectionAttemptDelay >= Self.minimumAttemptDelay else {
      throw Self.wrong(
        "connectionAttemptDelay", "at least \(Self.minimumAttemptDelay)", connectionAttemptDelay)
    }
    guard backoff.multiplier >= 1, backoff.multiplier.isFinite else {
      throw Self.wrong("backoff.multiplier", "at least 1", backoff.multiplier)
    }
    guard (0...1).contains(backoff.jitter) else {
      throw Self.wrong("backoff.jitter", "from 0 to 1", backoff.jitter)
    }
    try within(1...Int.max, maximumAddresses, "maximumAddresses")
    try within(0...Int(UInt32.max), maximumRequestBytes, "maximumRequestBytes")
    try within(0...Int(UInt32.max), maximumResponseBytes, "maximumResponseBytes")
    try within(0...Int.max, compressionThresholdBytes, "compressionThresholdBytes")
    try within(1...Int.max, responseQueueBytes, "responseQueueBytes")
    try within(1...Self.largestWindowBytes, streamWindowBytes, "streamWindowBytes")
    try within(
      Self.smallestWindowBytes...Self.largestWindowBytes, connectionWindowBytes,
      "connectionWindowBytes")
    try within(0...Int.max, replayBytes, "replayBytes")
    try within(0...Int.max, channelReplayBytes, "channelReplayBytes")
    guard userAgent.utf8.allSatisfy({ $0 >= 0x20 && $0 <= 0x7E }) else {
      throw Self.wrong("userAgent", "printable ASCII", userAgent)
    }
    try serviceConfig.validate()
  }

  private func positive(_ duration: Duration?, _ name: String) throws(RPCError) {
    if let duration, duration <= .zero { throw Self.wrong(name, "longer than 0", duration) }
  }

  private func within(
    _ range: ClosedRange<Int>, _ value: Int, _ name: String
  ) throws(RPCError) {
    guard range.contains(value) else {
      let rule =
        range.upperBound == .max
        ? "at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
      throw Self.wrong(name, rule, value)
    }
  }

  private static func wrong(_ name: String, _ rule: String, _ value: Any) -> RPCError {
    RPCError(
      .invalidArgument,
      "The channel's configuration cannot be used: \(name) is \(rule), not \(value).")
  }
}
