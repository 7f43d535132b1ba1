import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Queries on both engines against the same filter applied to everything in memory.
@Suite(.serialized, .timeLimit(.minutes(5))) struct AuditQueryTests {
  /// Filters of every kind, made by a generator with a seed.
  static func filter(_ random: inout some RandomNumberGenerator) -> AuditFilter {
    var filter = AuditFilter()
    func maybe(_ chance: Int) -> Bool { Int.random(in: 0..<100, using: &random) < chance }
    if maybe(40) { filter.actors = ["user-\(Int.random(in: 0..<7, using: &random))"] }
    if maybe(10) { filter.actors.append("user-1") }
    if maybe(30) { filter.entityType = ["order", "user", "flag"].randomElement(using: &random)! }
    if maybe(30) { filter.entityIDs = ["\(Int.random(in: 0..<12, using: &random))"] }
    if maybe(20) {
      filter.action = .exactly(
        ["order.made", "user.made", "flag.gone"].randomElement(using: &random)!)
    } else if maybe(40) {
      filter.action = .beginning(with: ["order.", "flag.", "none."].randomElement(using: &random)!)
    }
    if maybe(30) { filter.outcome = AuditEntry.Outcome.allCases.randomElement(using: &random) }
    if maybe(30) { filter.category = ["change", "access"].randomElement(using: &random)! }
    if maybe(10) { filter.correlationID = "call-3" }
    return filter
  }

  @Test(arguments: Engine.allCases)
  func everyFilterFindsWhatMatches(_ engine: Engine) async throws {
    var limits = AuditLimits()
    // Small, so that pages end early and prefixes are looked through.
    limits.entriesExamined = 50
    limits.actionsPerPrefix = 3
    try await AuditServer.run(engine, limits: limits) { [limits] server in
      var random = SeededGenerator(seed: 7)
      for _ in 0..<4 {
        try await server.record(
          (0..<150).map { number in
            let kind = ["order", "user", "flag"].randomElement(using: &random)!
            let what = ["made", "gone", "kept", "seen", "lost"].randomElement(using: &random)!
            return .init(
              actor: "user-\(Int.random(in: 0..<7, using: &random))", action: "\(kind).\(what)",
              entityType: kind, entityId: "\(Int.random(in: 0..<12, using: &random))",
              category: ["change", "access"].randomElement(using: &random)!,
              outcome: [.success, .success, .failure, .denied].randomElement(using: &random)!,
              correlationId: "call-\(number / 10)")
          })
      }
      let everything = try await server.database.read {
        try await AuditEntries.select(after: 0, limit: 10_000, in: $0)
      }
      for _ in 0..<150 {
        var filter = Self.filter(&random)
        if Int.random(in: 0..<4, using: &random) == 0 {
          filter.startTime = everything.randomElement(using: &random)?.time
        }
        if Int.random(in: 0..<4, using: &random) == 0 {
          filter.endTime = everything.randomElement(using: &random)?.time
        }
        let wanted = everything.filter(filter.matches)
        let size = [1, 7, 1_000].randomElement(using: &random)!
        let query = AuditQuery(filter, limits: limits)
        for direction in [AuditQuery.Direction.newestFirst, .oldestFirst] {
          var found: [AuditEntry] = []
          var bound: Int64? = direction == .newestFirst ? .max : 0
          while let from = bound {
            let page = try await server.database.read {
              try await query.page(beyond: from, limit: size, direction, in: $0)
            }
            #expect(page.entries.count <= size)
            found += page.entries
            bound = page.next
          }
          #expect(
            found == (direction == .newestFirst ? wanted.reversed() : wanted), "\(filter)")
        }
      }
    }
  }

  @Test func differencesAreNoLargerThanTheirLimit() {
    let name = String(repeating: "n", count: 10_000)
    func state(_ value: Int) -> String {
      let members = (0..<300).map { "\"\($0)\": \(value)" }.joined(separator: ", ")
      return "{\"\(name)\": {\(members)}}"
    }
    let changes = JSONDifference.changes(from: state(1), to: state(2))
    #expect(changes.count == 6)
    #expect(
      changes.reduce(0) { $0 + $1.path.utf8.count + $1.before.utf8.count + $1.after.utf8.count }
        <= JSONDifference.maximumBytes)
  }

  @Test(arguments: Engine.allCases)
  func aPageEndsAtItsBytesAndTheRestFollows(_ engine: Engine) async throws {
    var limits = AuditLimits()
    limits.pageBytes = 100_000
    limits.entriesPerRead = 7
    try await AuditServer.run(engine, limits: limits) { server in
      let text = String(repeating: "x", count: 4_000)
      try await server.record(
        (0..<60).map {
          var draft = AuditServer.draft("\($0)")
          draft.after = "{\"text\": \"\(text)\"}"
          return draft
        })
      var sizes: [Int] = []
      var found: [String] = []
      var token = ""
      repeat {
        let page = try await server.client.listEntries(
          .init(filter: .init(actor: "anna"), pageSize: 50, pageToken: token))
        sizes.append(page.entries.count)
        #expect(page.encoded().count < 102_000)
        found += page.entries.map(\.entityId)
        token = page.nextPageToken
      } while !token.isEmpty
      #expect(found == (0..<60).reversed().map(String.init))
      #expect(sizes.count == 3 && sizes[0] > 7)
    }
  }

  @Test func differencesNameWhatChanged() {
    let changes = JSONDifference.changes(
      from: #"{"a": 1, "b": {"c/d": true, "e": [1]}, "gone": null}"#,
      to: #"{"a": 1, "b": {"c/d": false, "e": [1, 2]}, "new~": "x"}"#)
    #expect(
      changes == [
        .init(path: "/b/c~1d", before: "true", after: "false"),
        .init(path: "/b/e", before: "[1]", after: "[1,2]"),
        .init(path: "/gone", before: "null", after: ""),
        .init(path: "/new~0", before: "", after: "\"x\""),
      ])
    #expect(JSONDifference.changes(from: nil, to: "{}").isEmpty)
    #expect(JSONDifference.changes(from: "{}", to: "{}").isEmpty)
    #expect(JSONDifference.changes(from: "1", to: "2").map(\.path) == [""])
  }
}
