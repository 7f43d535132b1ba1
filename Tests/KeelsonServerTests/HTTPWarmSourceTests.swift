import KeelsonCache
import KeelsonTestKit
import Testing

@testable import KeelsonServer

@Suite(.timeLimit(.minutes(5))) struct HTTPWarmSourceTests {
  private func fetch(
    _ answer: LocalHTTPServer.Answer, limits: CacheLimits = CacheLimits()
  ) async throws -> [UInt8] {
    let server = try LocalHTTPServer { _ in answer }
    defer { server.stop() }
    let source = HTTPWarmSource(limits, caFile: nil)
    let bytes = try await source.fetch("\(server.address)/goods?page=1")
    #expect(server.asked == ["GET /goods?page=1"])
    return bytes
  }

  private func failure(
    _ answer: LocalHTTPServer.Answer, limits: CacheLimits = CacheLimits()
  ) async throws -> String {
    do {
      let bytes = try await fetch(answer, limits: limits)
      Issue.record("\(bytes.count) bytes came")
      return ""
    } catch let failure as WarmSourceFailure {
      return failure.description
    }
  }

  @Test func theBodyOfAGoodAnswerIsTheValue() async throws {
    #expect(try await fetch(.json(200, "{}")) == Array("{}".utf8))
    #expect(try await fetch(.json(299, "")) == [])
  }

  @Test func whatIsNoGoodAnswerSaysWhy() async throws {
    #expect(try await failure(.json(404, "")) == "its URL answered with status 404")
    #expect(
      try await failure(.json(302, "", headers: ["Location": "http://127.0.0.1:1/"]))
        == "its URL leads elsewhere (status 302), and redirects are not followed")
    #expect(try await failure(.close).hasPrefix("its URL cannot be loaded: "))
  }

  @Test func sizeAndTimeAreLimited() async throws {
    var limits = CacheLimits()
    limits.valueBytes = 1_024
    limits.warmTimeout = .milliseconds(200)
    #expect(
      try await failure(.endless, limits: limits)
        == "its URL cannot be loaded: its answer is larger than the limit of 1024 bytes")
    #expect(
      try await failure(.silence, limits: limits)
        .hasPrefix("its URL cannot be loaded: it did not answer within 0.2 seconds"))
  }
}
