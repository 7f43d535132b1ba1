package import KeelsonAPI
package import KeelsonCore

extension CacheService {
  package func getStatistics(_ request: API.GetStatisticsRequest, context: ServerContext)
    async throws -> API.CacheStatistics
  {
    await statistics.statistics(hottest: try hottest(request.hottest))
  }

  package func watchStatistics(
    _ request: API.WatchStatisticsRequest, responses: ResponseWriter<API.CacheStatistics>,
    context: ServerContext
  ) async throws {
    let interval = try validation.time(
      request.interval, byDefault: .seconds(1), within: .milliseconds(100)...(.seconds(3_600)),
      field: "interval")
    try await statistics.watch(every: interval, hottest: try hottest(request.hottest)) {
      try await responses.write($0)
    }
  }

  private func hottest(_ given: Int32?) throws -> Int {
    let count = given ?? 10
    guard (0...100).contains(count) else {
      throw RPCError.invalidArgument(field: "hottest", "is \(count), not from 0 to 100")
    }
    return Int(count)
  }
}
