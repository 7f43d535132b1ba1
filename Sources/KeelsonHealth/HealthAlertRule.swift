/// When a component's checks are worth an alert: once so many in a row did not find it healthy, and once
/// when it is over. Source: SYS-101 AC5, SYS-102 AC5.
///
/// A degraded component counts: a cache without its Redis is never worse than that. What becomes
/// unhealthy after it was alerted of as degraded is told of once more.
struct HealthAlertRule: Sendable, Hashable {
  /// What a check has brought about.
  enum Outcome: Sendable, Hashable {
    /// The component is as bad as this.
    case raised(HealthReport.Status)
    /// It is healthy again.
    case ended
  }

  /// Checks in a row.
  static let checks = 3

  private var unhealthy = 0
  private var notHealthy = 0
  private var raised: HealthReport.Status?

  /// Takes what a check has found.
  mutating func note(_ status: HealthReport.Status) -> Outcome? {
    guard status != .healthy else {
      defer { self = HealthAlertRule() }
      return raised == nil ? nil : .ended
    }
    notHealthy += 1
    unhealthy = status == .unhealthy ? unhealthy + 1 : 0
    let level: HealthReport.Status = unhealthy >= Self.checks ? .unhealthy : .degraded
    guard notHealthy >= Self.checks, raised.map({ $0 < level }) ?? true else { return nil }
    raised = level
    return .raised(level)
  }
}
