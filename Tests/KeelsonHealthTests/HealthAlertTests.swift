import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonHealth

/// Alerts of components that stay unwell. Source: SYS-101 AC5, SYS-102 AC5.
@Suite(.timeLimit(.minutes(5))) struct HealthAlertTests {
  private typealias Status = HealthReport.Status

  private func alerts(_ checks: [Status]) -> [String] {
    var rule = HealthAlertRule()
    return checks.enumerated().compactMap { index, status in
      switch rule.note(status) {
      case .raised(let level): "\(index + 1): \(level)"
      case .ended: "\(index + 1): over"
      case nil: nil
      }
    }
  }

  @Test func itIsRaisedOnceAtTheThirdAndEndsOnce() {
    let (well, ill, dead) = (Status.healthy, Status.degraded, Status.unhealthy)
    #expect(alerts([dead, dead, well, dead, dead, well]) == [])
    #expect(
      alerts([well, dead, dead, dead, dead, dead, well, well, dead, dead, dead])
        == ["4: unhealthy", "7: over", "11: unhealthy"])
    // A cache without Redis is degraded, which is an alert as well.
    #expect(alerts([ill, ill, ill, ill, well]) == ["3: degraded", "5: over"])
    // What becomes worse is told of once more, what becomes better is not over yet.
    #expect(
      alerts([ill, dead, ill, dead, dead, dead, ill, ill, dead, dead, dead, well])
        == ["3: degraded", "6: unhealthy", "12: over"])
  }

  @Test func itIsAnEvent() async throws {
    let part = HealthMonitorTests.Part("cache", essential: false)
    let telemetry = TelemetryEvents()
    let monitor = HealthMonitor(checks: [part], telemetry: telemetry, logger: .silent)
    let heard = telemetry.subscribe(limit: 100) { $0.hasPrefix("keelson.health.HealthAlert") }
    part.failure.withLock { $0 = "it is gone" }
    for _ in 0..<4 { await monitor.checkAll() }
    part.failure.withLock { $0 = nil }
    for _ in 0..<2 { await monitor.checkAll() }
    let events = try #require(try await heard.next()).events
    #expect(
      events.map(\.type)
        == ["keelson.health.HealthAlertRaised", "keelson.health.HealthAlertEnded"])
    #expect(events.map(\.subject) == ["cache", "cache"])
    let data = events[0].data.text
    for part in [#""alert":"unhealthy""#, #""consecutive_failures":3"#, #""message":"it is gone""#]
    {
      #expect(data.contains(part), "\(data)")
    }
  }
}
