import KeelsonCore
import Testing

@testable import KeelsonClient

@Suite("An application's settings", .timeLimit(.minutes(1)))
struct SettingsOfAFakeServerTests {
  @Test("are those of the environment whose flags are evaluated, unless told otherwise")
  func environment() async throws {
    let server = FakeSettingsServer()
    try await server.run(environment: "production") { client in
      try await client.configuration(application: "a").ready()
      try await client.configuration(application: "b", environment: "staging").ready()
    }
    #expect(server.watches.map(\.environment) == ["production", "staging"])
  }

  @Test("that are refused say so to whoever asks later, too")
  func refusal() async throws {
    let server = FakeSettingsServer(refusal: RPCError(.permissionDenied, "No."))
    try await server.run { client in
      let settings = client.configuration(application: "a")
      for _ in 0..<2 {
        let error = await #expect(throws: RPCError.self) { try await settings.ready() }
        #expect(error?.code == .permissionDenied)
      }
      let error = await #expect(throws: RPCError.self) {
        try await settings.waitUntilReady(timeout: .seconds(50))
      }
      #expect(error?.code == .permissionDenied)
    }
    #expect(server.watches.count == 1)
  }

  @Test("are kept up for as long as their changes are read")
  func changesHoldThem() async throws {
    try await FakeSettingsServer(["A": .integer(1)]).run { client in
      var changes = client.configuration(application: "a").changes.makeAsyncIterator()
      #expect(await changes.next()?.keys == ["A"])
    }
  }
}
