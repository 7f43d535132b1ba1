import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonClient

@Suite("Evaluating flags in the client")
struct FlagsTests {
  private let server = FakeFlagServer()

  private static let quick: KeelsonClient.Configuration = {
    var configuration = KeelsonClient.Configuration()
    configuration.subscription.backoff.initial = .milliseconds(1)
    configuration.subscription.backoff.maximum = .milliseconds(2)
    return configuration
  }()

  /// Runs a body with a client that has its flags.
  private func withClient(
    _ configuration: KeelsonClient.Configuration = quick, ready: Bool = true,
    _ body: (KeelsonClient) async throws -> Void
  ) async throws {
    try await withInProcessChannel(to: server.routes) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      if ready { try await client.flags.ready() }
      try await body(client)
      await client.shutdown()
    }
  }

  @Test("gives the defaults until something has arrived, and says so")
  func defaultsWithoutRules() async throws {
    server.refuse(RPCError(.unavailable, "starting"))
    try await withClient(ready: false) { client in
      let flags = client.flags
      #expect(flags.bool("a", default: true))
      #expect(flags.string("a", default: "x") == "x")
      #expect(flags.number("a", default: 1.5) == 1.5)
      #expect(flags.integer("a", default: 7) == 7)
      #expect(flags.object("a", default: ["k": 1]) == ["k": 1])
      let details = flags.boolDetails("a", default: true)
      #expect(details.value)
      #expect(details.reason == .notReady)
      #expect(details.errorCode == .notReady)
      #expect(details.revision == 0)
      #expect(!flags.isReady)
      #expect(flags.keys.isEmpty)
      #expect(flags.state == .connecting)
    }
  }

  @Test("gives values of every type")
  func types() async throws {
    server.apply(.flag(.boolean("bool")))
    server.apply(.flag(.only("string", .string, "text")))
    server.apply(.flag(.only("number", .number, 2.5)))
    server.apply(.flag(.only("whole", .number, 40)))
    server.apply(.flag(.only("object", .object, ["k": [1, "two"]])))
    try await withClient { client in
      let flags = client.flags
      #expect(flags.bool("bool", default: false))
      #expect(flags.string("string", default: "") == "text")
      #expect(flags.number("number", default: 0) == 2.5)
      #expect(flags.integer("whole", default: 0) == 40)
      #expect(flags.object("object", default: [:]) == ["k": [1, "two"]])

      let details = flags.stringDetails("string", default: "")
      #expect(details.value == "text")
      #expect(details.variant == "only")
      #expect(details.reason == .static)
      #expect(details.errorCode == nil)
      #expect(details.revision == 5)
      #expect(flags.numberDetails("number", default: 0).value == 2.5)
      #expect(flags.integerDetails("whole", default: 0).value == 40)
      #expect(flags.objectDetails("object", default: [:]).value == ["k": [1, "two"]])
    }
  }

  @Test("gives the default for a value of another type, and says so")
  func typeMismatch() async throws {
    server.apply(.flag(.only("string", .string, "text")))
    server.apply(.flag(.only("number", .number, 2.5)))
    try await withClient { client in
      #expect(client.flags.bool("string", default: true))
      #expect(client.flags.string("number", default: "d") == "d")
      #expect(client.flags.boolDetails("string", default: true).errorCode == .typeMismatch)
      #expect(client.flags.integer("number", default: 3) == 3)
      let details = client.flags.integerDetails("number", default: 3)
      #expect(details.value == 3)
      #expect(details.reason == .error)
      #expect(details.errorCode == .typeMismatch)
      #expect(details.variant == nil)
    }
  }

  @Test("gives the default for flags that are missing, disabled, or without a default variant")
  func absentValues() async throws {
    server.apply(.flag(.boolean("disabled", enabled: false)))
    var undecided = KeelsonFlagsV1.FlagRules.boolean("undecided")
    undecided.defaultVariant = ""
    server.apply(.flag(undecided))
    try await withClient { client in
      for fallback in [true, false] {
        for key in ["missing", "disabled", "undecided"] {
          #expect(client.flags.bool(key, default: fallback) == fallback)
        }
      }
      #expect(client.flags.boolDetails("missing", default: true).errorCode == .flagNotFound)
      #expect(client.flags.boolDetails("disabled", default: true).reason == .disabled)
      let details = client.flags.boolDetails("undecided", default: true)
      #expect(details.reason == .default)
      #expect(details.value)
      #expect(details.variant == nil)
    }
  }

  @Test("names flags it cannot read, and the others work")
  func unreadable() async throws {
    server.apply(.flag(.boolean("broken", targeting: #"{"no_such_operator": [1]}"#)))
    server.apply(.flag(.boolean("whole")))
    server.apply(.segment(.init(key: "bad", condition: "{")))
    server.apply(.flag(.boolean("user", targeting: #"{"if": [{"$ref": "bad"}, "on", "off"]}"#)))
    try await withClient { client in
      #expect(client.flags.boolDetails("broken", default: true).errorCode == .parseError)
      #expect(client.flags.boolDetails("user", default: true).errorCode == .parseError)
      #expect(client.flags.bool("whole", default: false))
      #expect(Set(client.flags.failures.keys) == ["broken", "user"])
    }
  }

  @Test("lays the call's context over the configuration's")
  func contexts() async throws {
    let targeting = #"{"if": [{"==": [{"var": "region"}, "eu"]}, "on", "off"]}"#
    server.apply(.flag(.boolean("regional", targeting: targeting)))
    var configuration = Self.quick
    configuration.context = ["region": "eu"]
    try await withClient(configuration) { client in
      #expect(client.flags.bool("regional", default: false))
      #expect(client.flags.bool("regional", default: false, context: ["plan": "pro"]))
      #expect(!client.flags.bool("regional", default: true, context: ["region": "us"]))
      let details = client.flags.boolDetails("regional", default: false)
      #expect(details.reason == .targetingMatch)
    }
  }

  @Test("asks for the set and the environment of its configuration")
  func request() async throws {
    var configuration = Self.quick
    configuration.flagSet = "mobile"
    configuration.environment = "staging"
    try await withClient(configuration) { _ in
      #expect(server.requests.first?.flagSet == "mobile")
      #expect(server.requests.first?.environment == "staging")
    }
  }

  @Test("by the time a change is told, evaluations use it")
  func pushes() async throws {
    server.apply(.flag(.boolean("a")))
    try await withClient { client in
      var changes = client.flags.changes.makeAsyncIterator()
      for round in 0..<100 {
        let on = round.isMultiple(of: 2)
        let revision = server.apply(.flag(.boolean("a", on: !on)))
        #expect(await changes.next()?.revision == revision)
        #expect(client.flags.bool("a", default: on) == !on)
        #expect(client.flags.revision == revision)
      }
    }
  }

  @Test("tells which flags a segment or the set itself changes")
  func indirectChanges() async throws {
    server.apply(.segment(.init(key: "staff", condition: #"{"==": [{"var": "n"}, 1]}"#)))
    server.apply(.flag(.boolean("uses", targeting: #"{"if": [{"$ref": "staff"}, "off"]}"#)))
    server.apply(.flag(.boolean("plain")))
    try await withClient { client in
      var changes = client.flags.changes.makeAsyncIterator()
      #expect(client.flags.bool("uses", default: false, context: ["n": 2]))
      server.apply(.segment(.init(key: "staff", condition: #"{"==": [{"var": "n"}, 2]}"#)))
      #expect(await changes.next()?.keys == ["uses"])
      #expect(!client.flags.bool("uses", default: true, context: ["n": 2]))

      server.apply(.flagSet(.init(metadata: .init(["team": "core"]))))
      #expect(await changes.next()?.keys == ["uses", "plain"])
      #expect(
        client.flags.boolDetails("plain", default: true).metadata == ["team": "core"])
      server.apply(.removedFlag("plain"))
      #expect(await changes.next()?.keys == ["plain"])
      #expect(client.flags.boolDetails("plain", default: true).errorCode == .flagNotFound)
    }
  }

  @Test("keeps evaluating while the server is gone, as stale, and catches up")
  func stale() async throws {
    server.apply(.flag(.boolean("a")))
    try await withClient { client in
      #expect(client.flags.state == .current)
      server.refuse(RPCError(.unavailable, "restarting"))
      server.disconnect()
      await server.waitForCalls(3)
      guard case .stale(let since) = client.flags.state else {
        Issue.record("not stale but \(client.flags.state)")
        return
      }
      #expect(since <= .now)
      #expect(client.flags.status.error?.message == "restarting")
      #expect(client.flags.status.age != nil)
      #expect(client.flags.bool("a", default: false))

      let changes = client.flags.changes
      server.apply(.flag(.boolean("a", on: false)))
      server.refuse(nil)
      for await change in changes where change.concerns("a") { break }
      #expect(client.flags.state == .current)
      #expect(client.flags.status.error == nil)
      #expect(!client.flags.bool("a", default: true))
    }
  }

  @Test("gives up a silent server and connects again")
  func silence() async throws {
    server.apply(.flag(.boolean("a")))
    try await withClient { client in
      // From now on the server promises a word every 100 ms, and says none.
      server.send(.heartbeat(.init(interval: .init(.milliseconds(100)))))
      await server.waitForCalls(2)
      #expect(server.requests[1].resumeRevision == 1)
      #expect(client.flags.status.heartbeats >= 1)
    }
  }

  @Test("says what the server refuses the flags with")
  func refusal() async throws {
    server.refuse(RPCError(.notFound, "there is no flag set \"mobile\""))
    try await withClient(ready: false) { client in
      let error = await #expect(throws: RPCError.self) {
        try await client.flags.waitUntilReady(timeout: .seconds(60))
      }
      #expect(error?.code == .notFound)
      #expect(client.flags.state == .refused)
      await #expect(throws: RPCError.self) { try await client.flags.ready() }
    }
  }

  @Test("says after the timeout what went wrong so far")
  func timeout() async throws {
    server.refuse(RPCError(.unavailable, "connection refused"))
    try await withClient(ready: false) { client in
      await server.waitForCalls(2)
      let error = await #expect(throws: RPCError.self) {
        try await client.flags.waitUntilReady(timeout: .milliseconds(1))
      }
      #expect(error?.code == .unavailable)
      #expect(error?.message.contains("connection refused") == true)
    }
  }

  @Test("a cancelled wait ends, and so does one at shutdown")
  func endedWaits() async throws {
    server.refuse(RPCError(.unavailable, "down"))
    try await withClient(ready: false) { client in
      let cancelled = Task { try await client.flags.ready() }
      cancelled.cancel()
      await #expect(throws: CancellationError.self) { try await cancelled.value }

      let waiting = Task { try await client.flags.waitUntilReady(timeout: .seconds(600)) }
      await server.waitForCalls(server.requests.count + 1)
      await client.shutdown()
      let error = await #expect(throws: RPCError.self) { try await waiting.value }
      #expect(error?.code == .cancelled)
    }
  }

  @Test("after shutdown the last rules stay, and sequences of changes end")
  func shutdown() async throws {
    server.apply(.flag(.boolean("a")))
    try await withClient { client in
      let changes = client.flags.changes
      await client.shutdown()
      for await change in changes { Issue.record("a change at \(change.revision)") }
      for await change in client.flags.changes { Issue.record("a change at \(change.revision)") }
      #expect(client.flags.bool("a", default: false))
      #expect(client.flags.state == .shutdown)
    }
  }

  @Test("dropping the client ends the subscription")
  func dropped() async throws {
    try await withInProcessChannel(to: server.routes) { channel in
      let changes: FlagChanges
      do {
        let client = KeelsonClient(channel: channel, Self.quick)
        try await client.flags.ready()
        changes = client.flags.changes
      }
      for await change in changes { Issue.record("a change at \(change.revision)") }
    }
  }

  @Test("without a subscription nothing is asked for")
  func notSubscribed() async throws {
    var configuration = Self.quick
    configuration.subscribesToFlags = false
    try await withClient(configuration, ready: false) { client in
      #expect(client.flags.state == .notSubscribed)
      let error = await #expect(throws: RPCError.self) { try await client.flags.ready() }
      #expect(error?.code == .failedPrecondition)
      #expect(!client.flags.bool("a", default: false))
      let changes = client.flags.changes
      await client.shutdown()
      for await change in changes { Issue.record("a change at \(change.revision)") }
      #expect(server.requests.isEmpty)
    }
  }
}
