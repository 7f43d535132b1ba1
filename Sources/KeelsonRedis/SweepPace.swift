/// How long a sweep rests, so that Redis has time for all else: four times as long as each batch took,
/// like the sweeps of the server's own memory. A value without clock.
struct SweepPace: Sendable {
  private static let factor = 4
  /// A batch takes about a millisecond of Redis's time. One that took longer has waited behind others,
  /// and the sweep has to end: of a million keys in less than half a minute.
  static let longestRest: Duration = .milliseconds(10)

  /// How long it has worked and rested.
  private(set) var worked = Duration.zero
  private(set) var rested = Duration.zero

  /// A batch has taken so long.
  ///
  /// - Parameter isUrgent: whether there will soon be no room for what waits for the sweep.
  /// - Returns: how long to rest.
  mutating func rest(after batch: Duration, isUrgent: Bool) -> Duration {
    let rest = isUrgent ? .zero : min(batch * Self.factor, Self.longestRest)
    worked += batch
    rested += rest
    return rest
  }
}
