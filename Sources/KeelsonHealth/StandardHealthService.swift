package import KeelsonAPI
package import KeelsonCore

/// `grpc.health.v1.Health`, the protocol that probes and load balancers speak.
/// Source: grpc/grpc `doc/health-checking.md`.
///
/// The empty name stands for the server as a whole. All services share its status: they live and
/// stop together.
package final class StandardHealthService: GrpcHealthV1.HealthHandler {
  private let monitor: HealthMonitor
  private let services: Set<String>

  /// - Parameter services: the full names of the services this server has.
  package init(monitor: HealthMonitor, services: some Sequence<String>) {
    self.monitor = monitor
    self.services = Set(services)
  }

  /// Checks are frequent and read memory only, so they need no task.
  package var routes: [Route] {
    (self as any GrpcHealthV1.HealthHandler).routes.servingAtOnce([
      GrpcHealthV1.HealthMethods.check(immediate: check),
      GrpcHealthV1.HealthMethods.list(immediate: list),
    ])
  }

  package func check(
    _ request: GrpcHealthV1.HealthCheckRequest, context: ServerContext
  ) throws -> GrpcHealthV1.HealthCheckResponse {
    guard knows(request.service) else {
      // Cut, so that the status stays small whatever was asked for.
      let name = String(request.service.prefix(128))
      throw RPCError(
        .notFound, "There is no service '\(name)' here.",
        details: [.resourceInfo(type: "service", name: name, description: "")])
    }
    return Self.response(monitor.isReady ? .serving : .notServing)
  }

  package func list(
    _ request: GrpcHealthV1.HealthListRequest, context: ServerContext
  ) throws -> GrpcHealthV1.HealthListResponse {
    let status = Self.response(monitor.isReady ? .serving : .notServing)
    var response = GrpcHealthV1.HealthListResponse()
    response.statuses = Dictionary(uniqueKeysWithValues: services.union([""]).map { ($0, status) })
    return response
  }

  package func watch(
    _ request: GrpcHealthV1.HealthCheckRequest,
    responses: ResponseWriter<GrpcHealthV1.HealthCheckResponse>, context: ServerContext
  ) async throws {
    let isKnown = knows(request.service)
    var (report, version) = monitor.report.current
    var sent = isKnown ? report.servingStatus : .serviceUnknown
    try await responses.write(Self.response(sent))
    while let next = try await monitor.report.next(after: version) {
      (report, version) = next
      let status = isKnown ? report.servingStatus : .serviceUnknown
      guard status != sent else { continue }
      sent = status
      try await responses.write(Self.response(status))
    }
  }

  private func knows(_ service: String) -> Bool {
    service.isEmpty || services.contains(service)
  }

  private static func response(_ status: GrpcHealthV1.HealthCheckResponse.ServingStatus)
    -> GrpcHealthV1.HealthCheckResponse
  {
    var response = GrpcHealthV1.HealthCheckResponse()
    response.status = status
    return response
  }
}

extension HealthReport {
  fileprivate var servingStatus: GrpcHealthV1.HealthCheckResponse.ServingStatus {
    reasonNotReady == nil ? .serving : .notServing
  }
}
