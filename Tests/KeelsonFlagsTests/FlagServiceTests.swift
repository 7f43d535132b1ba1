import KeelsonAPI
import KeelsonCore
import KeelsonFlags
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// A flags service on a database of its own, called through the in-process transport.
final class FlagServer: Sendable {
  private let made: TestDatabase
  var database: any Database { made.database }
  let service: FlagService
  let client: KeelsonFlagsV1.FlagServiceClient

  init(limits: FlagLimits = FlagLimits(), on engine: TestEngine = .sqlite) async throws {
    made = try await TestDatabase(engine)
    try await made.database.migrate([FlagsMigrations.all])
    service = FlagService(
      database: made.database, environment: "test", limits: limits, logger: .silent)
    try await service.start()
    client = .init(channel: InProcessChannel(routes: service.routes))
  }

  func stop() async {
    service.stop()
    await made.remove()
  }

  /// Runs a body with a server on each engine.
  static func run(
    limits: FlagLimits = FlagLimits(), _ body: (FlagServer) async throws -> Void
  ) async throws {
    for engine in TestEngine.allCases {
      let server = try await FlagServer(limits: limits, on: engine)
      do {
        try await body(server)
      } catch {
        await server.stop()
        throw error
      }
      await server.stop()
    }
  }
}

@Suite struct FlagServiceTests {
  private typealias API = KeelsonFlagsV1

  @Test func aChangeIsStateHistoryAuditAndEventTogether() async throws {
    try await FlagServer.run { server in
      let created = try await server.client.createFlag(.init(flag: .init(key: "a")))
      let toggled = try await server.client.toggleFlag(.init(key: "a", enabled: true))
      #expect(toggled.revision == created.revision + 1)

      let (audit, events, history) = try await server.database.read { transaction in
        (
          try await transaction.query(
            """
            SELECT action, entity_id, before_state, after_state FROM audit_entries
            WHERE entity_type = 'flag' ORDER BY sequence
            """),
          try await transaction.query(
            "SELECT revision, type FROM events WHERE subject = 'default/a' ORDER BY revision"),
          try await transaction.query("SELECT revision FROM flag_history ORDER BY revision")
        )
      }
      #expect(try audit.map { try $0.get("action") } == ["flag.created", "flag.toggled"])
      let before: [String?] = try audit.map { try $0.get("before_state") }
      #expect(before[0] == nil)
      #expect(before[1]?.contains("\"key\":\"a\"") == true)
      #expect(
        try events.map { try $0.get("type") } == [
          "keelson.flags.FeatureFlagCreated", "keelson.flags.FeatureFlagToggled",
        ])
      #expect(
        try events.map { try $0.get("revision") } == [created.revision, toggled.revision])
      #expect(
        try history.map { try $0.get("revision") } == [created.revision, toggled.revision])
    }
  }

  @Test func arefusedChangeLeavesNothingBehind() async throws {
    try await FlagServer.run { server in
      let created = try await server.client.createFlag(.init(flag: .init(key: "a")))
      let before = try await server.counts()
      var bad = API.Flag(key: "a", etag: created.etag)
      bad.environments["test"] = .init(enabled: true, targeting: "{\"nonsense\": []}")
      let error = await #expect(throws: RPCError.self) {
        try await server.client.updateFlag(
          .init(flag: bad, updateMask: ["environments.test.targeting"]))
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("nonsense") == true)
      guard case .badRequest(let violations)? = error?.details.first else {
        Issue.record("no field violation")
        return
      }
      #expect(violations.map(\.field) == ["flag.environments[\"test\"].targeting"])
      #expect(try await server.counts() == before)
      #expect(try await server.client.getFlag(.init(key: "a")) == created)
    }
  }

  @Test func whatChangesNothingSpendsNoRevision() async throws {
    try await FlagServer.run { server in
      _ = try await server.client.createFlag(.init(flag: .init(key: "a")))
      let on = try await server.client.toggleFlag(.init(key: "a", enabled: true))
      let before = try await server.counts()
      #expect(try await server.client.toggleFlag(.init(key: "a", enabled: true)) == on)
      #expect(try await server.client.restoreFlag(.init(key: "a")) == on)
      #expect(
        try await server.client.updateFlag(.init(flag: on, updateMask: ["*"])) == on)
      #expect(try await server.counts() == before)
    }
  }

  @Test func aReaderReadsItsOwnWrites() async throws {
    try await FlagServer.run { server in
      _ = try await server.client.createFlag(.init(flag: .init(key: "a")))
      for round in 0..<50 {
        _ = try await server.client.toggleFlag(.init(key: "a", enabled: round % 2 == 0))
        let answer = try await server.client.evaluateFlag(.init(key: "a"))
        #expect(answer.evaluation?.reason == (round % 2 == 0 ? .static : .disabled))
      }
    }
  }

  @Test(arguments: TestEngine.allCases)
  func rulesAreLoadedAgainAfterARestart(on engine: TestEngine) async throws {
    let server = try await FlagServer(on: engine)
    var flag = API.Flag(key: "a")
    flag.environments["test"] = .init(
      enabled: true, defaultVariant: "off",
      targeting: #"{"if": [{"$ref": "dutch"}, "on", null]}"#)
    _ = try await server.client.createSegment(
      .init(
        segment: .init(key: "dutch", condition: #"{"==": [{"var": "country"}, "NL"]}"#)))
    _ = try await server.client.createFlag(.init(flag: flag))

    let again = FlagService(database: server.database, environment: "test", logger: .silent)
    try await again.start()
    let client = API.FlagServiceClient(channel: InProcessChannel(routes: again.routes))
    let context = GoogleProtobuf.Struct(["country": "NL"])
    let dutch = try await client.evaluateFlag(.init(key: "a", context: context))
    #expect(dutch.evaluation?.variant == "on")
    #expect(dutch.evaluation?.reason == .targetingMatch)
    let other = try await client.evaluateFlag(.init(key: "a"))
    #expect(other.evaluation?.variant == "off")
    #expect(other.evaluation?.reason == .default)
    await server.stop()
  }

  @Test func pagesHoldEverythingOnceAndInOrder() async throws {
    try await FlagServer.run { server in
      for number in 0..<25 {
        let tags = number % 2 == 0 ? ["even"] : []
        _ = try await server.client.createFlag(
          .init(flag: .init(key: "flag-\(number)", tags: tags)))
      }
      for tags in [[], ["even"]] {
        var keys: [String] = []
        var request = API.ListFlagsRequest(pageSize: 4, tags: tags)
        repeat {
          let page = try await server.client.listFlags(request)
          #expect(page.flags.count <= 4)
          keys += page.flags.map(\.key)
          request.pageToken = page.nextPageToken
        } while !request.pageToken.isEmpty
        let all = (0..<25).filter { tags.isEmpty || $0 % 2 == 0 }.map { "flag-\($0)" }
        #expect(keys == all.sorted())
      }
      let first = try await server.client.listFlags(.init(pageSize: 4))
      let error = await #expect(throws: RPCError.self) {
        try await server.client.listFlags(
          .init(pageSize: 4, pageToken: first.nextPageToken, tags: ["even"]))
      }
      #expect(error?.code == .invalidArgument)
    }
  }
}

extension FlagServer {
  /// How many rows the tables that a change writes to have.
  func counts() async throws -> [Int] {
    try await database.read { transaction in
      var counts: [Int] = []
      for table in ["flags", "flag_history", "audit_entries", "events"] {
        let row = try await transaction.first("SELECT count(*) AS number FROM \(table)")
        counts.append(try row?.get("number") ?? -1)
      }
      return counts
    }
  }
}
