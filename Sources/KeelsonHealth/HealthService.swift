package import KeelsonAPI
package import KeelsonCore

/// `keelson.health.v1.HealthService`. Source: SYS-100 to SYS-104.
package final class HealthService: KeelsonHealthV1.HealthServiceHandler {
  /// What answers say about the server itself.
  package struct Identity: Sendable {
    package var version: String
    package var environment: String
    package var startTime: ContinuousClock.Instant

    package init(version: String, environment: String, startTime: ContinuousClock.Instant = .now) {
      self.version = version
      self.environment = environment
      self.startTime = startTime
    }
  }

  private let monitor: HealthMonitor
  private let identity: Identity

  package init(monitor: HealthMonitor, identity: Identity) {
    self.monitor = monitor
    self.identity = identity
  }

  package func getHealth(
    _ request: KeelsonHealthV1.GetHealthRequest, context: ServerContext
  ) async throws -> KeelsonHealthV1.GetHealthResponse {
    response(to: monitor.report.value)
  }

  package func checkLiveness(
    _ request: KeelsonHealthV1.CheckLivenessRequest, context: ServerContext
  ) async throws -> KeelsonHealthV1.CheckLivenessResponse {
    var response = KeelsonHealthV1.CheckLivenessResponse()
    response.uptime = GoogleProtobuf.Duration(uptime)
    return response
  }

  package func checkReadiness(
    _ request: KeelsonHealthV1.CheckReadinessRequest, context: ServerContext
  ) async throws -> KeelsonHealthV1.CheckReadinessResponse {
    let reason = monitor.report.value.reasonNotReady
    var response = KeelsonHealthV1.CheckReadinessResponse()
    response.ready = reason == nil
    response.message = reason ?? ""
    return response
  }

  package func watchHealth(
    _ request: KeelsonHealthV1.WatchHealthRequest,
    responses: ResponseWriter<KeelsonHealthV1.GetHealthResponse>, context: ServerContext
  ) async throws {
    var (report, version) = monitor.report.current
    try await responses.write(response(to: report))
    while let next = try await monitor.report.next(after: version) {
      version = next.version
      // Times change with every check; only a status is news.
      if next.value.statuses != report.statuses {
        try await responses.write(response(to: next.value))
      }
      report = next.value
    }
  }

  private var uptime: Duration { ContinuousClock.now - identity.startTime }

  private func response(to report: HealthReport) -> KeelsonHealthV1.GetHealthResponse {
    var response = KeelsonHealthV1.GetHealthResponse()
    response.status = .init(report.status)
    response.components = report.components.map { KeelsonHealthV1.Component($0) }
    response.time = GoogleProtobuf.Timestamp(.now)
    response.version = identity.version
    response.environment = identity.environment
    response.uptime = GoogleProtobuf.Duration(uptime)
    response.ready = report.reasonNotReady == nil
    return response
  }
}

extension HealthReport {
  /// What watchers are told about: every status and whether the server is ready.
  fileprivate var statuses: [Int] {
    components.map { $0.status?.rawValue ?? -1 } + [reasonNotReady == nil ? 1 : 0]
  }
}

extension KeelsonHealthV1.Status {
  init(_ status: HealthReport.Status?) {
    switch status {
    case nil: self = .unspecified
    case .healthy: self = .healthy
    case .degraded: self = .degraded
    case .unhealthy: self = .unhealthy
    }
  }
}

extension KeelsonHealthV1.Component {
  init(_ component: HealthReport.Component) {
    self.init()
    name = component.name
    status = .init(component.status)
    responseTime = component.responseTime.map { GoogleProtobuf.Duration($0) }
    checkTime = component.checkTime.map { GoogleProtobuf.Timestamp($0) }
    message = component.message
    essential = component.isEssential
    consecutiveFailures = Int32(clamping: component.consecutiveFailures)
    if !component.details.isEmpty { details = GoogleProtobuf.Struct(component.details) }
  }
}
