import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonTransport

@Suite struct InterceptorTests {
  /// Notes what happens, in order.
  private final class Journal: Sendable {
    private let entries = Mutex<[String]>([])
    let ends = AsyncStream<Void>.makeStream()

    func note(_ entry: String) { entries.withLock { $0.append(entry) } }
    var all: [String] { entries.withLock { $0 } }

    func interceptor(_ name: String, denies: Bool = false) -> ServerInterceptor {
      ServerInterceptor(
        begin: { context throws(RPCError) in
          self.note("\(name) begins")
          if denies { throw RPCError(.permissionDenied, "No.") }
        },
        around: { context, proceed in
          self.note("\(name) goes in")
          defer { self.note("\(name) comes out") }
          try await proceed()
        },
        end: { _, summary in
          self.note("\(name) ends \(summary.code)")
          if name == "a" { self.ends.continuation.yield() }
        })
    }

    func waitForEnd() async {
      for await _ in ends.stream { return }
    }
  }

  private func withServer(
    _ interceptors: [ServerInterceptor], _ body: (RawClient, TestServer) async throws -> Void
  ) async throws {
    let server = try await TestServer(interceptors: interceptors)
    let client = try await RawClient(server.address)
    try await body(client, server)
    await client.close()
    await server.finish()
  }

  @Test(arguments: ["/test.T/Echo", "/test.T/Chat"])
  func theyStandAroundACallInOrder(_ path: String) async throws {
    let journal = Journal()
    let interceptors = [journal.interceptor("a"), journal.interceptor("b")]
    try await withServer(interceptors) { client, _ in
      #expect(await client.call(path, [[1]]).result().status == 0)
      await journal.waitForEnd()
    }
    #expect(
      journal.all == [
        "a begins", "b begins", "a goes in", "b goes in", "b comes out", "a comes out",
        "b ends OK", "a ends OK",
      ])
  }

  @Test func oneThatRefusesKeepsTheRestOut() async throws {
    let journal = Journal()
    let interceptors = [
      journal.interceptor("a"), journal.interceptor("b", denies: true), journal.interceptor("c"),
    ]
    try await withServer(interceptors) { client, _ in
      let result = await client.call("/test.T/Echo", [[1]]).result()
      #expect(result.status == 7)
      await journal.waitForEnd()
    }
    // The one that refused did not begin, so it hears of no end.
    #expect(journal.all == ["a begins", "b begins", "a ends PERMISSION_DENIED"])
  }

  @Test func theyHearOfCallsOfUnknownMethods() async throws {
    let journal = Journal()
    try await withServer([journal.interceptor("a")]) { client, _ in
      #expect(await client.call("/test.T/Nothing", [[1]]).result().status == 12)
      await journal.waitForEnd()
    }
    #expect(journal.all == ["a begins", "a ends UNIMPLEMENTED"])
  }

  @Test func oneMayChangeTheErrorOfAHandler() async throws {
    let translates = ServerInterceptor(around: { _, proceed in
      do { try await proceed() } catch { throw RPCError(.dataLoss, "Worse.") }
    })
    try await withServer([translates]) { client, _ in
      #expect(await client.call("/test.T/Fail", [[1]]).result().status == 15)
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  @Test func oneThatForgetsToProceedFailsTheCall() async throws {
    try await withServer([ServerInterceptor(around: { _, _ in })]) { client, _ in
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 13)
    }
  }

  @Test func functionsAreMadeForEachMethodOnce() async throws {
    let made = Mutex<[String]>([])
    let interceptor = ServerInterceptor { method in
      made.withLock { $0.append(method.name) }
      return ServerInterceptor.Functions()
    }
    try await withServer([interceptor]) { client, _ in
      _ = await client.call("/test.T/Echo", [[1]]).result()
      _ = await client.call("/test.T/Echo", [[1]]).result()
    }
    #expect(made.withLock { $0.filter { $0 == "Echo" }.count } == 1)
    #expect(made.withLock { $0.filter { $0 == "unknown" }.count } == 1)
  }

  // MARK: Correlation and traces

  @Test func eachCallHasACorrelationID() async throws {
    try await withServer([.correlation()]) { client, _ in
      let given = await client.call(
        "/test.T/Peer", [[]], headers: [("x-correlation-id", "mine")]
      ).result()
      #expect(given.fields["x-correlation-id"] == "mine")
      var made: Set<String> = []
      for _ in 0..<10 {
        made.insert(await client.call("/test.T/Peer", [[]]).result().fields["x-correlation-id"]!)
      }
      #expect(made.count == 10)
      let long = String(repeating: "x", count: 129)
      let unfit = await client.call(
        "/test.T/Peer", [[]], headers: [("x-correlation-id", long)]
      ).result()
      #expect(unfit.fields["x-correlation-id"]?.utf8.count == 36)
    }
  }

  @Test func aTraceIsContinuedWithASpanOfTheCallsOwn() async throws {
    let traces = Mutex<[TraceContext?]>([])
    let ends = AsyncStream<Void>.makeStream()
    let tells = ServerInterceptor(end: { context, _ in
      traces.withLock { $0.append(context.trace) }
      ends.continuation.yield()
    })
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    try await withServer([.trace(), tells]) { client, _ in
      var ended = ends.stream.makeAsyncIterator()
      for value in [parent, "00-nonsense", parent] {
        _ = await client.call("/test.T/Echo", [[1]], headers: [("traceparent", value)]).result()
        await ended.next()
      }
    }
    let found = traces.withLock { $0 }
    #expect(found[0]?.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
    #expect(found[0]?.flags == "01")
    #expect(found[0]?.parentID != "00f067aa0ba902b7")
    #expect(found[1] == nil)
    #expect(found[2]?.parentID != found[0]?.parentID)
  }
}
