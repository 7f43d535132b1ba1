import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonClient

@Suite("A tail of the audit trail", .timeLimit(.minutes(1)))
struct AuditTailTests {
  private typealias API = KeelsonAuditV1
  private typealias Part =
    @Sendable (ResponseWriter<KeelsonAuditV1.TailEntriesResponse>) async throws -> Void

  private static func entry(_ sequence: Int64) -> API.TailEntriesResponse {
    .init(sequence: sequence, event: .entry(.init(sequence: sequence)))
  }

  /// Runs a body with a client of a server whose tails end as the script says, one part for each;
  /// after the last it is away.
  ///
  /// - Returns: after which entry each tail was asked for.
  private func run(
    _ script: [Part], backoff: Duration = .milliseconds(1),
    _ body: (KeelsonClient, Signal<Void>) async throws -> Void
  ) async throws -> [Int64?] {
    let asked = Mutex<[Int64?]>([])
    let isAway = Signal<Void>()
    let route = Route.serverStreaming(API.AuditServiceMethods.tailEntries) {
      (
        request: API.TailEntriesRequest,
        responses: ResponseWriter<API.TailEntriesResponse>, _
      ) in
      let number = asked.withLock { asked in
        asked.append(request.afterSequence)
        return asked.count
      }
      guard number <= script.count else {
        isAway.send()
        throw RPCError(.unavailable, "The server is stopping.")
      }
      try await script[number - 1](responses)
    }
    var configuration = KeelsonClient.Configuration()
    configuration.subscribesToFlags = false
    configuration.subscription.backoff.initial = backoff
    configuration.subscription.backoff.maximum = backoff * 2
    try await withInProcessChannel(to: [route]) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      try await body(client, isAway)
      await client.shutdown()
    }
    return asked.withLock { $0 }
  }

  @Test("goes on after the last entry, also when the server has no room for another tail")
  func resumes() async throws {
    let asked = try await run([
      { responses in
        try await responses.write(Self.entry(5))
        try await responses.write(.init(sequence: 9, event: .heartbeat(.init())))
        throw RPCError(.unavailable, "The server is stopping.")
      },
      { _ in
        var error = RPCError(.resourceExhausted, "Too many tails.")
        error.details = [.retryInfo(.milliseconds(1))]
        throw error
      },
      { responses in try await responses.write(Self.entry(12)) },
    ]) { client, _ in
      var tail = client.audit.tail(after: 3).makeAsyncIterator()
      let (first, second) = (try await tail.next(), try await tail.next())
      #expect(first?.sequence == 5)
      #expect(second?.sequence == 12)
      #expect(tail.position == 12)
    }
    #expect(asked == [3, 9, 9])
  }

  @Test("ends with its client, also while it waits for the server")
  func ends() async throws {
    _ = try await run([], backoff: .seconds(3_600)) { client, isAway in
      let tail = Task {
        for try await _ in client.audit.tail() {}
      }
      await isAway.wait()
      await client.shutdown()
      try await tail.value
      var late = client.audit.tail().makeAsyncIterator()
      let none = try await late.next()
      #expect(none == nil)
    }
  }

  @Test("what trying again does not cure is thrown")
  func fatal() async throws {
    let asked = try await run([{ _ in throw RPCError(.outOfRange, "Archived.") }]) { client, _ in
      var tail = client.audit.tail(after: 1).makeAsyncIterator()
      let error = await #expect(throws: RPCError.self) { _ = try await tail.next() }
      #expect(error?.code == .outOfRange)
    }
    #expect(asked == [1])
  }
}
