package import KeelsonCore
import Synchronization

/// Runs the checks in the background and keeps their last results. Probes only read those, so
/// frequent probing is no load. Source: SYS-100 to SYS-103.
package final class HealthMonitor: Sendable {
  package struct Settings: Sendable {
    /// How long from the end of one round of checks to the next.
    package var interval: Duration = .seconds(5)
    /// A check that takes longer counts as degraded (SYS-100: 5 s).
    package var slowAfter: Duration = .seconds(5)
    /// A check that takes longer is given up and counts as failed.
    package var timeout: Duration = .seconds(10)

    package init() {}
  }

  package let report: Watchable<HealthReport>
  private let checks: [any HealthCheck]
  private let settings: Settings
  private let logger: Logger

  package init(checks: [any HealthCheck], settings: Settings = Settings(), logger: Logger) {
    self.checks = checks
    self.settings = settings
    self.logger = logger
    var initial = HealthReport()
    initial.components = checks.map { .init(name: $0.name, isEssential: $0.isEssential) }
    report = Watchable(initial)
  }

  /// Checks every component once, all at the same time.
  package func checkAll() async {
    await withTaskGroup(of: Void.self) { group in
      for index in checks.indices { group.addTask { await self.check(index) } }
    }
  }

  /// Checks again and again until the task is cancelled.
  package func run() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: settings.interval)
      if !Task.isCancelled { await checkAll() }
    }
  }

  /// Says that start-up has finished.
  package func markStarted() {
    report.update { $0.isStarted = true }
  }

  /// Says that the server is stopping: from now on it is not ready.
  package func markDraining() {
    report.update { $0.isDraining = true }
  }

  private func check(_ index: Int) async {
    let check = checks[index]
    let start = ContinuousClock.now
    let failure = await outcome(of: check)
    let elapsed = ContinuousClock.now - start
    // A cancelled round says nothing about the component.
    guard !Task.isCancelled else { return }
    var component = report.value.components[index]
    let before = component.status
    component.responseTime = elapsed
    component.checkTime = .now
    if let failure {
      component.status = .unhealthy
      component.message = failure
      component.consecutiveFailures += 1
    } else {
      let isSlow = elapsed > settings.slowAfter
      component.status = isSlow ? .degraded : .healthy
      component.message = isSlow ? "It answers, but took \(elapsed)." : ""
      component.consecutiveFailures = 0
    }
    let result = component
    report.update { $0.components[index] = result }
    if before != component.status, before != nil || component.status != .healthy {
      logger.log(
        component.status == .healthy ? .info : .warning, "A component's health changed.",
        ["name": component.name, "status": "\(component.status!)", "reason": component.message])
    }
  }

  /// What is wrong with a component; nil when nothing is.
  private func outcome(of check: any HealthCheck) async -> String? {
    await withTaskGroup(of: String?.self) { group in
      group.addTask {
        do {
          try await check.check()
          return nil
        } catch let error as RPCError {
          return error.message
        } catch {
          return "The check failed."
        }
      }
      group.addTask { [settings] in
        try? await Task.sleep(for: settings.timeout)
        return "The check did not end within \(settings.timeout)."
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
  }
}
