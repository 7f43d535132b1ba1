import KeelsonAPI
import KeelsonCore
import KeelsonFlags
import Testing

/// What the limits promise: whatever was accepted can be read, watched and loaded again, and
/// whatever is refused is refused with an answer that arrives.
@Suite struct FlagLimitTests {
  private typealias API = KeelsonFlagsV1

  private func list(_ count: Int) -> GoogleProtobuf.Value {
    GoogleProtobuf.Value(.object(["list": .array(Array(repeating: 1, count: count))]))
  }

  @Test func aFlagThatWasAcceptedIsReadWatchedAndLoadedAgain() async throws {
    try await FlagServer.run { server in
      var flag = API.Flag(key: "large", type: .object)
      // More fields than one request may have, in two steps.
      flag.variants = ["a": list(22_000)]
      let created = try await server.client.createFlag(.init(flag: flag))
      flag.variants["b"] = list(20_000)
      let updated = try await server.client.updateFlag(
        .init(flag: flag, updateMask: ["variants"]))
      #expect(updated.revision == created.revision + 1)
      #expect(try await server.client.getFlag(.init(key: "large")) == updated)
      for try await response in server.client.watchFlags(.init()) {
        #expect(response.revision == updated.revision)
        break
      }
      let again = FlagService(database: server.database, environment: "test", logger: .silent)
      try await again.start()
    }
  }

  @Test func aFlagThatIsTooLargeInAllIsRefused() async throws {
    var limits = FlagLimits()
    limits.flagBytes = 2_000
    try await FlagServer.run(limits: limits) { server in
      let error = await #expect(throws: RPCError.self) {
        try await server.client.createFlag(
          .init(flag: .init(key: "a", description: String(repeating: "x", count: 2_000))))
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("at most 2000") == true)
    }
  }

  @Test(arguments: [
    JSONValue.number(.nan), .number(.infinity), .object(["a": .array([.number(-.infinity)])]),
  ])
  func numbersThatJSONDoesNotHaveAreRefused(value: JSONValue) async throws {
    try await FlagServer.run { server in
      let error = await #expect(throws: RPCError.self) {
        try await server.client.createFlag(
          .init(flag: .init(key: "a", variants: ["v": GoogleProtobuf.Value(value)])))
      }
      #expect(error?.code == .invalidArgument)
    }
  }

  @Test func valuesThatNestTooDeepAreRefused() async throws {
    try await FlagServer.run { server in
      func nested(_ depth: Int) -> JSONValue {
        (1..<depth).reduce(.object([:])) { value, _ in ["a": value] }
      }
      _ = try await server.client.createFlag(
        .init(flag: .init(key: "a", variants: ["v": GoogleProtobuf.Value(nested(32))])))
      let error = await #expect(throws: RPCError.self) {
        try await server.client.createFlag(
          .init(flag: .init(key: "b", variants: ["v": GoogleProtobuf.Value(nested(34))])))
      }
      #expect(error?.code == .invalidArgument)
    }
  }

  @Test func longNamesAreRefusedWithShortAnswers() async throws {
    try await FlagServer.run { server in
      let long = String(repeating: "k", count: 100_000)
      let calls: [@Sendable () async throws -> Void] = [
        { _ = try await server.client.getFlag(.init(key: long)) },
        { _ = try await server.client.getFlag(.init(flagSet: long, key: "a")) },
        { _ = try await server.client.toggleFlag(.init(key: long, enabled: true)) },
        { _ = try await server.client.evaluateFlag(.init(key: long)) },
        { _ = try await server.client.evaluateFlags(.init(flagSet: long)) },
        { _ = try await server.client.getSegment(.init(key: long)) },
        { _ = try await server.client.getFlagSet(.init(key: long)) },
        { _ = try await server.client.listFlags(.init(query: long)) },
        { _ = try await server.client.listFlags(.init(pageToken: long)) },
        { _ = try await server.client.updateFlag(.init(flag: .init(), updateMask: [long])) },
      ]
      for (index, call) in calls.enumerated() {
        let error = await #expect(throws: RPCError.self, "call \(index)") { try await call() }
        #expect(error?.code == .invalidArgument, "call \(index)")
        #expect((error?.message.utf8.count ?? 0) < 1_000, "call \(index)")
        #expect((error?.encodedStatus?.count ?? 0) < 2_000, "call \(index)")
      }
    }
  }

  @Test func aSegmentThatManyFlagsUseNamesTenOfThem() async throws {
    try await FlagServer.run { server in
      _ = try await server.client.createSegment(
        .init(segment: .init(key: "s", condition: #"{"==": [1, 1]}"#)))
      for number in 0..<30 {
        var flag = API.Flag(key: "flag-\(number)")
        flag.environments["test"] = .init(
          enabled: true, targeting: #"{"if": [{"$ref": "s"}, "on"]}"#)
        _ = try await server.client.createFlag(.init(flag: flag))
      }
      let error = await #expect(throws: RPCError.self) {
        try await server.client.deleteSegment(.init(key: "s"))
      }
      #expect(error?.code == .failedPrecondition)
      #expect(error?.message.contains("and 20 more") == true)
      guard case .preconditionFailure(let violations)? = error?.details.first else {
        Issue.record("no PreconditionFailure in \(error?.details ?? [])")
        return
      }
      #expect(violations.count == 10)
      #expect(error?.details.count == 1)
    }
  }

  @Test func pagesEndBeforeTheyAreTooLargeForAMessage() async throws {
    var limits = FlagLimits()
    limits.pageBytes = 5_000
    try await FlagServer.run(limits: limits) { server in
      let description = String(repeating: "d", count: 2_000)
      for key in ["a", "b", "c", "d"] {
        _ = try await server.client.createFlag(
          .init(flag: .init(key: key, description: description)))
      }
      let first = try await server.client.listFlags(.init())
      #expect(first.flags.map(\.key) == ["a", "b"])
      let second = try await server.client.listFlags(.init(pageToken: first.nextPageToken))
      #expect(second.flags.map(\.key) == ["c", "d"])
      #expect(second.nextPageToken.isEmpty)
    }
  }

  @Test func environmentsOfASetAreCounted() async throws {
    var limits = FlagLimits()
    limits.environmentsPerSet = 2
    try await FlagServer.run(limits: limits) { server in
      _ = try await server.client.createFlag(.init(flag: .init(key: "a")))
      for name in ["one", "two", "one"] {
        _ = try await server.client.toggleFlag(
          .init(key: "a", environment: name, enabled: true))
      }
      let error = await #expect(throws: RPCError.self) {
        try await server.client.toggleFlag(.init(key: "a", environment: "three", enabled: true))
      }
      #expect(error?.code == .resourceExhausted)
    }
  }

  @Test func anEvaluationOfEverythingStaysWithinAMessage() async throws {
    var limits = FlagLimits()
    limits.evaluationBytes = 10_000
    try await FlagServer.run(limits: limits) { server in
      var flag = API.Flag(key: "a", type: .string)
      flag.variants = ["v": GoogleProtobuf.Value(.string(String(repeating: "x", count: 3_000)))]
      flag.environments["test"] = .init(enabled: true, defaultVariant: "v")
      _ = try await server.client.createFlag(.init(flag: flag))
      let few = try await server.client.evaluateFlags(.init(keys: ["a", "a"]))
      #expect(few.evaluations.count == 2)
      let error = await #expect(throws: RPCError.self) {
        try await server.client.evaluateFlags(.init(keys: ["a", "a", "a", "a"]))
      }
      #expect(error?.code == .resourceExhausted)
    }
  }
}
