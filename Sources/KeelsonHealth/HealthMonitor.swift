package import KeelsonCore
package import KeelsonStore
import Synchronization

/// Runs the checks in the background and keeps their last results. Probes only read those, so
/// frequent probing is no load. Source: SYS-100 to SYS-103.
package final class HealthMonitor: Sendable {
  package struct Settings: Sendable {
    /// How long from the end of one round of checks to the next.
    package var interval: Duration = .seconds(5)
    /// A check that takes longer counts as degraded (SYS-100: 5 s), from that moment on.
    package var slowAfter: Duration = .seconds(5)
    /// A check that takes longer counts as failed. It is cancelled; while it goes on all the
    /// same, that component gets no second one and fails every round.
    package var timeout: Duration = .seconds(10)

    package init() {}
  }

  package let report: Watchable<HealthReport>
  /// Whether the report gives no reason why the server should not be sent calls.
  package var isReady: Bool { ready.load(ordering: .acquiring) }
  private let ready = Atomic(false)
  private let checks: [any HealthCheck]
  private let settings: Settings
  /// When the checks began that have not ended yet, by their place in `checks`.
  private let running = Mutex<[Int: ContinuousClock.Instant]>([:])
  /// By the components' place in `checks`.
  private let alertRules: Mutex<[HealthAlertRule]>
  private let telemetry: TelemetryEvents
  private let logger: Logger

  package init(
    checks: [any HealthCheck], settings: Settings = Settings(),
    telemetry: TelemetryEvents = TelemetryEvents(), logger: Logger
  ) {
    self.checks = checks
    self.settings = settings
    alertRules = Mutex(checks.map { _ in HealthAlertRule() })
    self.telemetry = telemetry
    self.logger = logger
    var initial = HealthReport()
    initial.components = checks.map { .init(name: $0.name, isEssential: $0.isEssential) }
    report = Watchable(initial)
    ready.store(initial.reasonNotReady == nil, ordering: .releasing)
  }

  private func update(_ body: (inout HealthReport) -> Void) {
    report.update { report in
      body(&report)
      ready.store(report.reasonNotReady == nil, ordering: .releasing)
    }
  }

  /// Checks every component once, all at the same time. Takes no longer than the timeout, whatever
  /// the checks do.
  package func checkAll() async {
    await withTaskGroup(of: Void.self) { group in
      for index in checks.indices { group.addTask { await self.check(index) } }
    }
    if !Task.isCancelled { telemetry.publish(ofRound: report.value) }
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
    update { $0.isStarted = true }
  }

  /// Says that the server is stopping: from now on it is not ready.
  package func markDraining() {
    update { $0.isDraining = true }
  }

  /// What happens to a check that runs.
  private enum Step: Sendable {
    case ended(Finding)
    case slow
    case overdue
  }

  /// What a check found.
  private struct Finding: Sendable {
    var status: HealthReport.Status
    var message = ""
    var details: [String: JSONValue] = [:]
  }

  private func check(_ index: Int) async {
    let start = ContinuousClock.now
    let earlier = running.withLock { running in
      let earlier = running[index]
      if earlier == nil { running[index] = start }
      return earlier
    }
    if let earlier {
      let elapsed = start - earlier
      if elapsed >= settings.timeout { record(overdue, of: index, after: elapsed) }
      return
    }
    // Tasks of their own: a group would wait for a check that does not heed its cancellation.
    let (steps, continuation) = AsyncStream.makeStream(of: Step.self)
    let look = Task { [check = checks[index]] in
      let finding = await Self.finding(of: check)
      running.withLock { $0[index] = nil }
      continuation.yield(.ended(finding))
    }
    let timer = Task { [settings] in
      if settings.slowAfter < settings.timeout {
        try await Task.sleep(for: settings.slowAfter)
        continuation.yield(.slow)
      }
      try await Task.sleep(until: start + settings.timeout, clock: .continuous)
      continuation.yield(.overdue)
    }
    defer {
      look.cancel()
      timer.cancel()
    }
    // Ends early when the round is cancelled, which says nothing about the component.
    for await step in steps {
      let elapsed = ContinuousClock.now - start
      switch step {
      case .ended(var finding):
        if finding.status == .healthy, elapsed > settings.slowAfter {
          finding.status = .degraded
          finding.message = "It answers, but took \(elapsed)."
        }
        // What a check says that was cancelled with its round, neither.
        if !Task.isCancelled { record(finding, of: index, after: elapsed) }
        return
      case .slow:
        // It may fail yet, so what failed before has not recovered.
        guard report.value.components[index].status != .unhealthy else { continue }
        let message = "The check has not ended yet, after \(settings.slowAfter)."
        record(
          Finding(status: .degraded, message: message), of: index, after: elapsed, isLast: false)
      case .overdue:
        record(overdue, of: index, after: elapsed)
        return
      }
    }
  }

  private var overdue: Finding {
    Finding(status: .unhealthy, message: "The check did not end within \(settings.timeout).")
  }

  private static func finding(of check: any HealthCheck) async -> Finding {
    do {
      let outcome = try await check.check()
      return Finding(
        status: .init(outcome.level), message: outcome.reason, details: outcome.details)
    } catch let error as RPCError {
      return Finding(status: .unhealthy, message: error.message)
    } catch {
      return Finding(status: .unhealthy, message: "The check failed.")
    }
  }

  /// Puts a finding into the report. Called for one component by one round at a time.
  ///
  /// - Parameter isLast: whether it is what the check has found in the end.
  private func record(
    _ finding: Finding, of index: Int, after elapsed: Duration, isLast: Bool = true
  ) {
    var component = report.value.components[index]
    let before = component.status
    component.responseTime = elapsed
    component.checkTime = .now
    component.status = finding.status
    component.message = finding.message
    component.details = finding.details
    component.consecutiveFailures =
      finding.status == .unhealthy ? component.consecutiveFailures + 1 : 0
    let result = component
    update { $0.components[index] = result }
    telemetry.publish(of: result)
    if before != component.status, before != nil || component.status != .healthy {
      logger.log(
        finding.status == .healthy ? .info : .warning, "A component's health changed.",
        ["name": component.name, "status": "\(finding.status)", "reason": component.message])
    }
    if isLast { alert(of: result, at: index, finding.status) }
  }

  /// Tells whoever watches over the server, once, of a component that stays unwell.
  private func alert(
    of component: HealthReport.Component, at index: Int, _ status: HealthReport.Status
  ) {
    guard let outcome = alertRules.withLock({ $0[index].note(status) }) else { return }
    telemetry.publish(outcome, of: component)
    switch outcome {
    case .raised(let level):
      logger.log(
        .error,
        "An alert: \(HealthAlertRule.checks) checks in a row did not find a component healthy.",
        ["name": component.name, "status": "\(level)", "reason": component.message])
    case .ended:
      logger.log(
        .info, "An alert is over: the component is healthy again.", ["name": component.name])
    }
  }
}
