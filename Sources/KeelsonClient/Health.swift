public import KeelsonAPI
public import KeelsonCore

/// How the server is.
public struct Health: Sendable {
  private let service: KeelsonHealthV1.HealthServiceClient
  /// The standard health service of gRPC, `grpc.health.v1`.
  public let standard: GrpcHealthV1.HealthClient

  init(channel: any Channel) {
    service = KeelsonHealthV1.HealthServiceClient(channel: channel)
    standard = GrpcHealthV1.HealthClient(channel: channel)
  }

  /// The overall status with that of each component, the server's version and environment.
  ///
  /// - Throws: ``RPCError``, UNAVAILABLE when the server cannot be reached for example.
  public func getHealth(
    options: CallOptions = CallOptions()
  ) async throws -> KeelsonHealthV1.GetHealthResponse {
    try await service.getHealth(KeelsonHealthV1.GetHealthRequest(), options: options)
  }

  /// The health now, then again whenever a status changes, until the server stops or the loop is
  /// left.
  public func watchHealth(
    options: CallOptions = CallOptions()
  ) -> ResponseStream<KeelsonHealthV1.GetHealthResponse> {
    service.watchHealth(KeelsonHealthV1.WatchHealthRequest(), options: options)
  }

  /// Whether the server should be sent calls: reachable, started, not draining, its essential
  /// components working.
  ///
  /// - Throws: ``RPCError`` when the server answers, but not this.
  public func isReady(options: CallOptions = CallOptions()) async throws -> Bool {
    try await ifReached {
      try await service.checkReadiness(KeelsonHealthV1.CheckReadinessRequest(), options: options)
        .ready
    }
  }

  /// Whether the server's process answers, whatever its components do.
  ///
  /// - Throws: ``RPCError`` when the server answers, but not this.
  public func isAlive(options: CallOptions = CallOptions()) async throws -> Bool {
    try await ifReached {
      _ = try await service.checkLiveness(KeelsonHealthV1.CheckLivenessRequest(), options: options)
      return true
    }
  }

  /// What the body says; false when the server does not answer in time.
  private func ifReached(_ body: () async throws -> Bool) async throws -> Bool {
    do {
      return try await body()
    } catch let error as RPCError
      where error.code == .unavailable || error.code == .deadlineExceeded
    {
      return false
    }
  }
}
