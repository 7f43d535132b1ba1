import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonClient

@Suite("Health in the client")
struct HealthTests {
  private struct Service: KeelsonHealthV1.HealthServiceHandler {
    var ready = true
    var failure: RPCError?

    func getHealth(
      _ request: KeelsonHealthV1.GetHealthRequest, context: ServerContext
    ) async throws -> KeelsonHealthV1.GetHealthResponse {
      .init(status: .degraded, version: "1.2.3", environment: "staging")
    }

    func checkLiveness(
      _ request: KeelsonHealthV1.CheckLivenessRequest, context: ServerContext
    ) async throws -> KeelsonHealthV1.CheckLivenessResponse {
      if let failure { throw failure }
      return .init()
    }

    func checkReadiness(
      _ request: KeelsonHealthV1.CheckReadinessRequest, context: ServerContext
    ) async throws -> KeelsonHealthV1.CheckReadinessResponse {
      if let failure { throw failure }
      return .init(ready: ready)
    }

    func watchHealth(
      _ request: KeelsonHealthV1.WatchHealthRequest,
      responses: ResponseWriter<KeelsonHealthV1.GetHealthResponse>, context: ServerContext
    ) async throws {
      try await responses.write(.init(status: .healthy))
      try await responses.write(.init(status: .unhealthy))
    }
  }

  private func withHealth(
    _ service: Service, _ body: (Health) async throws -> Void
  ) async throws {
    var configuration = KeelsonClient.Configuration()
    configuration.subscribesToFlags = false
    try await withInProcessChannel(to: service.routes) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      try await body(client.health)
      await client.shutdown()
    }
  }

  @Test("the health, and each change of it")
  func health() async throws {
    try await withHealth(Service()) { health in
      let now = try await health.getHealth()
      #expect(now.status == .degraded)
      #expect(now.environment == "staging")
      var seen: [KeelsonHealthV1.Status] = []
      for try await response in health.watchHealth() { seen.append(response.status) }
      #expect(seen == [.healthy, .unhealthy])
    }
  }

  @Test("alive and ready apart")
  func probes() async throws {
    try await withHealth(Service(ready: false)) { health in
      let isAlive = try await health.isAlive()
      #expect(isAlive)
      let isReady = try await health.isReady()
      #expect(!isReady)
    }
    try await withHealth(Service()) { health in
      let isReady = try await health.isReady()
      #expect(isReady)
    }
  }

  @Test(
    "a server that does not answer is neither",
    arguments: [RPCError.Code.unavailable, .deadlineExceeded])
  func unreachable(code: RPCError.Code) async throws {
    try await withHealth(Service(failure: RPCError(code, "gone"))) { health in
      let isAlive = try await health.isAlive()
      #expect(!isAlive)
      let isReady = try await health.isReady()
      #expect(!isReady)
    }
  }

  @Test("a server that answers something else is an error")
  func otherErrors() async throws {
    try await withHealth(Service(failure: RPCError(.permissionDenied, "not you"))) { health in
      await #expect(throws: RPCError.self) { try await health.isAlive() }
      await #expect(throws: RPCError.self) { try await health.isReady() }
    }
  }
}
