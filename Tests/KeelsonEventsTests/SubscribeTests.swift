import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonEvents

@Suite("Subscribing to events", .timeLimit(.minutes(2)))
struct SubscribeTests {
  private typealias API = KeelsonEventsV1

  @Test(
    "begins with where it stands, then sends what happens from now on",
    arguments: TestEngine.allCases)
  func fromNowOn(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let before = try await server.change()
      var stream = server.client.subscribe(.init()).makeAsyncIterator()
      let first = try #require(try await stream.next())
      #expect(first.isHeartbeat)
      #expect(first.revision == before)
      let revision = try await server.change(subject: "default/b")
      let second = try #require(try await stream.next())
      #expect(second.revision == revision)
      #expect(second.event?.text("subject") == "default/b")
    }
  }

  @Test(
    "is a CloudEvent with the change's number, actor and call, and nothing internal",
    arguments: TestEngine.allCases)
  func mapping(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let origin = ChangeOrigin(
        actor: "spiffe://example.org/a", correlationID: "c-1",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
      let revision = try await server.change(
        origin: origin, data: JSONText(["key": .string("a")]))
      let event = try await server.client.getEvent(.init(revision: revision))
      #expect(event.specVersion == "1.0")
      #expect(event.source == "/keelson/test")
      #expect(event.type == "keelson.flags.FeatureFlagToggled")
      #expect(event.text("sequence") == "0000000000000000001")
      #expect(event.text("actor") == "spiffe://example.org/a")
      #expect(event.text("correlationid") == "c-1")
      #expect(event.text("traceparent") == origin.traceparent)
      #expect(event.text("datacontenttype") == "application/json")
      #expect(event.data == .textData(#"{"key":"a"}"#))
      guard case .ceTimestamp = event.attributes["time"]?.attr else {
        Issue.record("no time")
        return
      }
      let again = try await server.client.getEvent(.init(revision: revision))
      #expect(again == event)
      #expect(!String(decoding: event.encoded(), as: UTF8.self).contains("internal"))
    }
  }

  @Test(
    "from the oldest on, over what is in memory and what is not",
    arguments: TestEngine.allCases, [2, 4_096])
  func fromOldest(engine: TestEngine, recent: Int) async throws {
    var limits = EventLimits()
    limits.recentEvents = recent
    try await EventServer.run(on: engine, limits: limits) { server in
      try await server.change(times: 200)
      var stream = server.client.subscribe(.init(start: .fromOldest(true))).makeAsyncIterator()
      #expect(try await stream.next()?.revision == 0)
      for revision in 1...200 as ClosedRange<Int64> {
        #expect(try await stream.next()?.revision == revision)
      }
      // Now it is live; several changes at once are more than what is kept.
      try await server.change(times: 20)
      for revision in 201...220 as ClosedRange<Int64> {
        let response = try await stream.next()
        #expect(response?.revision == revision)
        #expect(response?.event != nil)
      }
    }
  }

  @Test(
    "types and subjects are chosen by name or by how they begin", arguments: TestEngine.allCases)
  func filters(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change("FeatureFlagCreated", subject: "default/a")
      try await server.change("FeatureFlagToggled", subject: "default/a")
      try await server.change("FeatureFlagSetCreated", subject: "mobile")
      try await server.change("FeatureFlagToggled", subject: "mobile/b")
      func revisions(
        _ types: [String], _ subjects: [String] = [], count: Int
      ) async throws -> [Int64] {
        var found: [Int64] = []
        let request = API.SubscribeRequest(
          types: types, subjects: subjects, start: .afterRevision(0))
        for try await response in server.client.subscribe(request) where response.event != nil {
          found.append(response.revision)
          if found.count == count { break }
        }
        return found
      }
      #expect(try await revisions(["keelson.flags.FeatureFlagToggled"], count: 2) == [2, 4])
      #expect(try await revisions(["keelson.flags.*"], count: 4) == [1, 2, 3, 4])
      #expect(try await revisions(["*"], ["mobile*"], count: 2) == [3, 4])
      #expect(
        try await revisions(
          ["keelson.flags.FeatureFlagCreated", "keelson.flags.FeatureFlagSet*"], count: 2)
          == [1, 3])
      #expect(try await revisions([], ["default/a"], count: 2) == [1, 2])
    }
  }

  @Test("what nothing can match is refused, with what was meant", arguments: TestEngine.allCases)
  func mistakes(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.patterns = 2
    try await EventServer.run(on: engine, limits: limits) { server in
      func status(_ request: API.SubscribeRequest) async -> RPCError? {
        await failure { for try await _ in server.client.subscribe(request) { break } }
      }
      let misspelt = await status(.init(types: ["keelson.flags.FeatureFlagTogled"]))
      #expect(misspelt?.code == .invalidArgument)
      #expect(misspelt?.message.contains("keelson.flags.FeatureFlagToggled") == true)
      let noPrefix = await status(.init(types: ["keelson.fags.*"]))
      #expect(noPrefix?.code == .invalidArgument)
      let star = await status(.init(types: ["keelson.*.FeatureFlagToggled"]))
      #expect(star?.message.contains("not at its end") == true)
      let telemetry = await status(.init(types: [EventServer.evaluated]))
      #expect(telemetry?.message.contains("EVENT_CLASS_TELEMETRY") == true)
      let many = await status(.init(types: ["*", "*", "*"]))
      #expect(many?.message.contains("at most 2") == true)
      let long = await status(.init(subjects: [String(repeating: "x", count: 513)]))
      #expect(long?.message.contains("at most 512") == true)
      let empty = await status(.init(subjects: [""]))
      #expect(empty?.message.contains("subjects[0]") == true)
      let negative = await status(.init(start: .afterRevision(-1)))
      #expect(negative?.code == .invalidArgument)
      let unknown = await status(.init(classes: [.unrecognized(9)]))
      #expect(unknown?.code == .invalidArgument)
    }
  }

  @Test(
    "a revision that was removed or never reached is out of range, and says what there is",
    arguments: TestEngine.allCases)
  func outOfRange(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 5)
      try await server.database.feed.compact(upTo: 3)
      func status(after revision: Int64) async -> RPCError? {
        await failure {
          for try await _ in server.client.subscribe(.init(start: .afterRevision(revision))) {
            break
          }
        }
      }
      let old = await status(after: 2)
      #expect(old?.code == .outOfRange)
      #expect(old?.reason == "REVISION_COMPACTED")
      #expect(old?.info?.metadata["oldest_revision"] == "4")
      #expect(await status(after: 3) == nil)
      let future = await status(after: 6)
      #expect(future?.code == .outOfRange)
      #expect(future?.reason == "REVISION_UNKNOWN")
      #expect(future?.info?.metadata["current_revision"] == "5")
      let event = await failure { _ = try await server.client.getEvent(.init(revision: 3)) }
      #expect(event?.reason == "REVISION_COMPACTED")
      let next = await failure { _ = try await server.client.getEvent(.init(revision: 6)) }
      #expect(next?.code == .notFound)
    }
  }

  @Test(
    "heartbeats come in silence and move the revision on where nothing matches",
    arguments: TestEngine.allCases)
  func heartbeats(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.heartbeatInterval = .milliseconds(5)
    try await EventServer.run(on: engine, limits: limits) { server in
      let request = API.SubscribeRequest(types: ["keelson.flags.FeatureFlagArchived"])
      var stream = server.client.subscribe(request).makeAsyncIterator()
      #expect(try await stream.next()?.revision == 0)
      let revision = try await server.change()
      var last = try #require(try await stream.next())
      while last.revision < revision { last = try #require(try await stream.next()) }
      #expect(last.isHeartbeat)
      guard case .heartbeat(let heartbeat) = last.content else { return }
      #expect(heartbeat.interval?.clampedDuration == .milliseconds(10))
    }
  }

  @Test(
    "the server's stop ends it as unavailable, with when to come back",
    arguments: TestEngine.allCases)
  func stop(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      var stream = server.client.subscribe(.init()).makeAsyncIterator()
      _ = try await stream.next()
      server.service.stop()
      let status = await failure { _ = try await stream.next() }
      #expect(status?.code == .unavailable)
      #expect(status?.retryDelay != nil)
      let next = await failure { for try await _ in server.client.subscribe(.init()) {} }
      #expect(next?.code == .unavailable)
    }
  }

  @Test(
    "no more subscribers than the limit, and a place is free again when one leaves",
    arguments: TestEngine.allCases)
  func subscribers(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.subscribers = 1
    try await EventServer.run(on: engine, limits: limits) { server in
      let one = server.client.subscribe(.init())
      var stream = one.makeAsyncIterator()
      _ = try await stream.next()
      let status = await failure { for try await _ in server.client.subscribe(.init()) {} }
      #expect(status?.code == .resourceExhausted)
      #expect(status?.retryDelay != nil)
      one.cancel()
      // It leaves when its handler hears of it; whoever tries again gets in.
      while true {
        let again = await failure { for try await _ in server.client.subscribe(.init()) { break } }
        if again == nil { break }
        #expect(again?.code == .resourceExhausted)
      }
    }
  }

  @Test("heartbeats ahead of the events do not send all subscribers to the table")
  func beats() throws {
    var limits = EventLimits()
    limits.recentEvents = 10
    let hub = EventHub(source: "/keelson/test", limits: limits)
    let selection = try EventSelection(.init(), limits: limits)
    let subscriber = try hub.enter(selection)
    defer { hub.leave(subscriber) }
    func events(_ revisions: ClosedRange<Int64>) -> [CommittedEvent] {
      revisions.map {
        CommittedEvent(
          revision: $0, time: .now, type: "keelson.flags.FeatureFlagToggled", subject: "a",
          data: .emptyObject, payload: [], actor: "system", correlationID: "")
      }
    }
    func entries(after revision: Int64) -> [Int64]? {
      switch hub.delivery(selection, after: revision, limit: 10) {
      case .entries(let entries, _): entries.map(\.revision)
      case .none: []
      case .table: nil
      }
    }
    hub.receive(events(1...2))
    hub.distribute()
    // The database is ahead, and the hub will hear of it in a moment.
    hub.beat(at: 4)
    #expect(entries(after: 0) == [1, 2])
    hub.receive(events(3...4))
    hub.distribute()
    #expect(entries(after: 0) == [1, 2, 3, 4])
    // What it has not heard of until the next beat, it never will: the table has it.
    hub.beat(at: 7)
    #expect(entries(after: 4) == [])
    hub.beat(at: 7)
    #expect(entries(after: 4) == nil)
    #expect(hub.current == 7)
    hub.receive(events(8...8))
    hub.distribute()
    #expect(entries(after: 7) == [8])
  }

  // MARK: Telemetry

  @Test(
    "telemetry comes to those who ask for it, between the durable events",
    arguments: TestEngine.allCases)
  func telemetry(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let request = API.SubscribeRequest(classes: [.durable, .telemetry])
      var stream = server.client.subscribe(request).makeAsyncIterator()
      _ = try await stream.next()
      server.publishTelemetry("default/a")
      let first = try #require(try await stream.next())
      #expect(first.revision == 0)
      #expect(first.event?.type == EventServer.evaluated)
      #expect(first.event?.text("sequence") == nil)
      #expect(first.event?.id.utf8.count == 36)
      let revision = try await server.change()
      #expect(try await stream.next()?.revision == revision)
      server.publishTelemetry("default/b")
      #expect(try await stream.next()?.revision == revision)
    }
  }

  @Test(
    "what a slow reader loses of telemetry is counted, and nothing durable is lost",
    arguments: TestEngine.allCases)
  func dropped(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.telemetryBuffer = 10
    try await EventServer.run(on: engine, limits: limits) { server in
      let request = API.SubscribeRequest(classes: [.durable, .telemetry])
      var stream = server.client.subscribe(request).makeAsyncIterator()
      _ = try await stream.next()
      let published = 20_000
      for number in 0..<published { server.publishTelemetry("default/\(number)") }
      let revision = try await server.change()
      var received = 0
      var lost = 0
      var sawChange = false
      while received + lost < published || !sawChange {
        let response = try #require(try await stream.next())
        if let count = response.dropped {
          lost += Int(count)
        } else if response.event?.type == EventServer.evaluated {
          received += 1
        } else if response.event != nil {
          #expect(response.revision == revision)
          sawChange = true
        }
      }
      #expect(received + lost == published)
      #expect(lost > 0)
    }
  }

  @Test(
    "what others are about does not push out what a subscriber wants",
    arguments: TestEngine.allCases)
  func telemetryOfOneSubject(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.telemetryBuffer = 1
    try await EventServer.run(on: engine, limits: limits) { server in
      let request = API.SubscribeRequest(subjects: ["default/rare"], classes: [.telemetry])
      var stream = server.client.subscribe(request).makeAsyncIterator()
      _ = try await stream.next()
      for number in 0..<1_000 { server.publishTelemetry("default/\(number)") }
      server.publishTelemetry("default/rare")
      let response = try #require(try await stream.next())
      #expect(response.event?.text("subject") == "default/rare")
    }
  }

  @Test("a database that is lost ends it as the server's stop does", arguments: TestEngine.allCases)
  func lostDatabase(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      var stream = server.client.subscribe(.init()).makeAsyncIterator()
      _ = try await stream.next()
      server.database.liveEvents.finish()
      let status = await failure { _ = try await stream.next() }
      #expect(status?.code == .unavailable)
      #expect(status?.retryDelay != nil)
    }
  }

  @Test("fewer may want telemetry than durable events", arguments: TestEngine.allCases)
  func telemetrySubscribers(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.telemetrySubscribers = 1
    try await EventServer.run(on: engine, limits: limits) { server in
      let one = server.client.subscribe(.init(classes: [.telemetry]))
      var stream = one.makeAsyncIterator()
      _ = try await stream.next()
      let status = await failure {
        for try await _ in server.client.subscribe(.init(classes: [.telemetry])) {}
      }
      #expect(status?.code == .resourceExhausted)
      #expect(
        await failure { for try await _ in server.client.subscribe(.init()) { break } } == nil)
      one.cancel()
    }
  }

  @Test(
    "nobody listens to telemetry once its subscribers have left", arguments: TestEngine.allCases)
  func leaves(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      #expect(!server.telemetry.hasListeners)
      let stream = server.client.subscribe(.init(classes: [.telemetry]))
      for try await _ in stream {
        #expect(server.telemetry.hasListeners)
        break
      }
      stream.cancel()
      while server.telemetry.hasListeners { await Task.yield() }
    }
  }
}
