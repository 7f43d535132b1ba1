/// How often callers may have a checkpoint signed: each stays for ever. An hour's allowance may be
/// used at once and comes back evenly.
struct CheckpointAllowance: Sendable {
  private let perHour: Double
  private var left: Double
  private var time: ContinuousClock.Instant

  init(perHour: Int, at now: ContinuousClock.Instant = .now) {
    self.perHour = Double(max(1, perHour))
    left = self.perHour
    time = now
  }

  /// Takes one.
  ///
  /// - Returns: how long to wait until there is one; nil when it is granted.
  mutating func take(at now: ContinuousClock.Instant = .now) -> Duration? {
    left = min(perHour, left + (now - time) / .seconds(3_600) * perHour)
    time = now
    guard left < 1 else {
      left -= 1
      return nil
    }
    return .seconds((1 - left) / perHour * 3_600)
  }
}
