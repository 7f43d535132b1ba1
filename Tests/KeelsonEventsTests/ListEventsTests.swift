import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonEvents

@Suite("Listing events", .timeLimit(.minutes(5)))
struct ListEventsTests {
  private typealias API = KeelsonEventsV1

  private func revisions(_ response: KeelsonEventsV1.ListEventsResponse) -> [Int64] {
    response.events.compactMap { $0.text("sequence").flatMap { Int64($0) } }
  }

  @Test("newest first or oldest first, a page at a time, both ways", arguments: TestEngine.allCases)
  func pages(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 10)
      func page(_ order: String, _ token: String) async throws
        -> KeelsonEventsV1.ListEventsResponse
      {
        try await server.client.listEvents(
          .init(pageSize: 4, pageToken: token, orderBy: order))
      }
      let ascending = Array(1...10 as ClosedRange<Int64>)
      for (order, all) in [("", Array(ascending.reversed())), ("revision", ascending)] {
        let first = try await page(order, "")
        let second = try await page(order, first.nextPageToken)
        let third = try await page(order, second.nextPageToken)
        #expect(revisions(first) + revisions(second) + revisions(third) == all)
        #expect(revisions(third).count == 2)
        #expect(third.nextPageToken.isEmpty)
        // And back.
        #expect(try await page(order, third.previousPageToken) == second)
        #expect(revisions(try await page(order, second.previousPageToken)) == revisions(first))
        // Before the first page is nothing; its tokens lead back into the list.
        let before = try await page(order, first.previousPageToken)
        #expect(before.events.isEmpty)
        #expect(revisions(try await page(order, before.nextPageToken)) == revisions(first))
      }
    }
  }

  @Test(
    "a page stays what it was when events come, and the page before the first has them",
    arguments: TestEngine.allCases)
  func stability(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 10)
      let first = try await server.client.listEvents(.init(pageSize: 4))
      try await server.change(times: 3)
      let second = try await server.client.listEvents(
        .init(pageSize: 4, pageToken: first.nextPageToken))
      #expect(revisions(second) == [6, 5, 4, 3])
      let new = try await server.client.listEvents(
        .init(pageSize: 4, pageToken: first.previousPageToken))
      #expect(revisions(new) == [13, 12, 11])
      #expect(
        revisions(
          try await server.client.listEvents(.init(pageSize: 4, pageToken: new.nextPageToken)))
          == revisions(first))
    }
  }

  @Test(
    "by type, subject, actor, call and time, alone and together", arguments: TestEngine.allCases)
  func filters(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let anna = ChangeOrigin(actor: "anna", correlationID: "one")
      let bert = ChangeOrigin(actor: "bert", correlationID: "two")
      try await server.change("FeatureFlagCreated", subject: "default/a", origin: anna)
      try await server.change("FeatureFlagToggled", subject: "default/a", origin: bert)
      try await server.change("FeatureFlagCreated", subject: "default/b", origin: bert)
      try await server.change("FeatureFlagSetCreated", subject: "mobile", origin: anna)
      try await server.change("FeatureFlagToggled", subject: "default/b", origin: anna)
      func list(_ request: KeelsonEventsV1.ListEventsRequest) async throws -> [Int64] {
        revisions(try await server.client.listEvents(request))
      }
      #expect(try await list(.init(types: ["keelson.flags.FeatureFlagCreated"])) == [3, 1])
      #expect(
        try await list(
          .init(types: ["keelson.flags.FeatureFlagCreated", "keelson.flags.FeatureFlagSet*"]))
          == [4, 3, 1])
      #expect(
        try await list(.init(types: ["keelson.flags.*"], orderBy: "revision")) == [1, 2, 3, 4, 5])
      #expect(try await list(.init(types: ["keelson.events.*"])) == [])
      #expect(try await list(.init(subject: "default/a")) == [2, 1])
      #expect(try await list(.init(subject: "default/*")) == [5, 3, 2, 1])
      #expect(try await list(.init(actor: "anna")) == [5, 4, 1])
      #expect(try await list(.init(correlationId: "two")) == [3, 2])
      #expect(
        try await list(
          .init(types: ["keelson.flags.FeatureFlagToggled"], subject: "default/b", actor: "anna"))
          == [5])
      let times = try await server.client.listEvents(.init(orderBy: "revision")).events.map {
        event -> GoogleProtobuf.Timestamp? in
        if case .ceTimestamp(let time) = event.attributes["time"]?.attr { time } else { nil }
      }
      #expect(try await list(.init(startTime: times[2], orderBy: "revision")) == [3, 4, 5])
      #expect(try await list(.init(endTime: times[2], orderBy: "revision")) == [1, 2])
      #expect(
        try await list(
          .init(
            types: ["keelson.flags.*"], startTime: times[1], endTime: times[4])) == [4, 3, 2])
      #expect(try await list(.init(startTime: .init(UnixTime(microseconds: .max)))) == [])
      #expect(try await list(.init(endTime: .init(seconds: 1))) == [])
    }
  }

  @Test("mistakes are named", arguments: TestEngine.allCases)
  func mistakes(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 3)
      func status(_ request: KeelsonEventsV1.ListEventsRequest) async -> String {
        let error = await failure { _ = try await server.client.listEvents(request) }
        #expect(error?.code == .invalidArgument)
        return error?.message ?? ""
      }
      let page = try await server.client.listEvents(.init(pageSize: 1))
      #expect(await status(.init(pageSize: -1)).hasPrefix("page_size"))
      #expect(await status(.init(pageToken: "x")).hasPrefix("page_token"))
      #expect(
        await status(.init(pageToken: page.nextPageToken, actor: "a")).hasPrefix("page_token"))
      #expect(await status(.init(types: ["keelson.flags.Nothing"])).hasPrefix("types[0]"))
      #expect(await status(.init(types: [EventServer.evaluated])).contains("not kept"))
      #expect(await status(.init(subject: "a*b")).hasPrefix("subject"))
      #expect(await status(.init(orderBy: "time")).hasPrefix("order_by"))
      #expect(
        await status(.init(startTime: .init(seconds: 2), endTime: .init(seconds: 2)))
          .hasPrefix("end_time"))
      #expect(
        await status(.init(startTime: .init(seconds: .max))).hasPrefix("start_time"))
      #expect(
        await status(.init(actor: String(repeating: "x", count: 513))).hasPrefix("actor"))
      let requests: [KeelsonEventsV1.ListEventsRequest] = [
        .init(actor: "a\0"), .init(subject: "a\0*"), .init(correlationId: "\0"),
        .init(types: ["keelson.\0*"]),
      ]
      for request in requests {
        let said = await status(request)
        #expect(said.contains("NUL"))
      }
    }
  }

  /// A page of one event that no index leads to.
  private func creations(
    by actor: String, _ token: String, _ server: EventServer
  ) async throws -> KeelsonEventsV1.ListEventsResponse {
    try await server.client.listEvents(
      .init(
        pageSize: 1, pageToken: token, types: ["keelson.flags.FeatureFlagCreated"], actor: actor,
        orderBy: "revision"))
  }

  @Test(
    "where no index leads, a page ends early and its token goes on, both ways",
    arguments: TestEngine.allCases)
  func broad(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.revisionsPerRead = 3
    try await EventServer.run(on: engine, limits: limits) { server in
      let anna = ChangeOrigin(actor: "anna")
      try await server.change("FeatureFlagCreated", subject: "rare/a", origin: anna)
      try await server.change(times: 100)
      try await server.change("FeatureFlagCreated", subject: "rare/b", origin: anna)
      for order in ["", "revision"] {
        for request in [
          KeelsonEventsV1.ListEventsRequest(pageSize: 2, subject: "rare/*", orderBy: order),
          .init(
            pageSize: 2, types: ["keelson.flags.FeatureFlagCreated"], actor: "anna", orderBy: order),
          .init(pageSize: 2, subject: "rare/a", actor: "anna", orderBy: order),
        ] {
          let all: [Int64] = request.subject == "rare/a" ? [1] : [1, 102]
          var request = request
          var found: [Int64] = []
          var pages = 0
          repeat {
            let page = try await server.client.listEvents(request)
            found += revisions(page)
            pages += 1
            request.pageToken = page.nextPageToken
          } while !request.pageToken.isEmpty
          #expect(found == (order.isEmpty ? all.reversed() : all))
          // The index of subjects leads to the two of a prefix, without looking through the rest.
          let isLed = request.types.isEmpty && request.actor.isEmpty
          let expected = isLed ? 1...2 : 30...40
          #expect(expected.contains(pages))
        }
      }
      // Backwards from the end of the list, over what does not match.
      let first = try await creations(by: "anna", "", server)
      #expect(revisions(first) == [1])
      var back = first
      var steps = 0
      repeat {
        back = try await creations(by: "anna", back.nextPageToken, server)
      } while back.events.isEmpty
      #expect(revisions(back) == [102])
      repeat {
        back = try await creations(by: "anna", back.previousPageToken, server)
        steps += 1
      } while back.events.isEmpty && steps < 50
      #expect(revisions(back) == [1])
    }
  }

  @Test(
    "a prefix of subjects is the same whether few or many have it", arguments: TestEngine.allCases)
  func prefixes(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.maximumPageSize = 2_000
    try await EventServer.run(on: engine, limits: limits) { server in
      // Around the ends of ranges, in the order of bytes and in that of a language.
      let subjects = [
        "a", "A", "b", "a/", "a/b", "a0", "a\u{D7FF}x", "a\u{E000}", "a\u{10FFFF}",
        "a\u{10FFFF}z", "\u{10FFFF}", "\u{10FFFF}\u{10FFFF}", "ä", "%", "_", "a%", "a_",
      ]
      for subject in subjects { try await server.change(subject: subject) }
      for count in [subjects.count, subjects.count + 600] {
        if count > subjects.count {
          try await server.changeAtOnce(subjects: (0..<600).map { "a/b\($0)" })
        }
        for prefix in subjects + ["", "a\u{D7FF}", "nobody"] {
          let request = KeelsonEventsV1.ListEventsRequest(
            pageSize: 2_000, subject: "\(prefix)*", orderBy: "revision")
          let found = revisions(try await server.client.listEvents(request))
          if prefix == "a/b" { #expect(found.count == 1 + count - subjects.count) }
          var expected: [Int64] = []
          for (index, subject) in subjects.enumerated()
          where subject.utf8.starts(with: prefix.utf8) { expected.append(Int64(index) + 1) }
          #expect(Array(found.prefix(expected.count)) == expected, "\(prefix)")
        }
      }
    }
  }

  @Test("no page token brings the server down, whatever it says", arguments: TestEngine.allCases)
  func tokens(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 3)
      for order in ["", "revision"] {
        let page = try await server.client.listEvents(.init(pageSize: 1, orderBy: order))
        let checksum = try #require(page.nextPageToken.split(separator: ".").first)
        let places = [
          "0", "1", "2", "3", "4", "-1", "9223372036854775807", "9223372036854775806",
          "9223372036854775808", "-9223372036854775808", "", "x", "+1", "1.2",
        ]
        for side in ["n", "p", "", "x", "nn"] {
          for place in places {
            var token = "\(checksum).\(side).\(place)"
            // Every token that it gives in turn is a token.
            for _ in 0..<3 where !token.isEmpty {
              let request = KeelsonEventsV1.ListEventsRequest(
                pageSize: 1, pageToken: token, orderBy: order)
              do {
                let answer = try await server.client.listEvents(request)
                token = side == "n" ? answer.nextPageToken : answer.previousPageToken
                if side == "p", answer.events.isEmpty {
                  _ = try await server.client.listEvents(
                    .init(pageSize: 1, pageToken: answer.nextPageToken, orderBy: order))
                }
              } catch let error as RPCError {
                #expect(error.code == .invalidArgument)
                #expect(
                  ["", "x", "nn"].contains(side) || Int64(place).map { $0 < 0 } ?? true
                    || place.hasPrefix("9223372036854775807"), "\(token)")
                token = ""
              }
            }
          }
        }
      }
    }
  }

  @Test(
    "the catalogue has every type once, with its class and what it means",
    arguments: TestEngine.allCases)
  func catalogue(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let all = try await server.client.listEventTypes(.init()).eventTypes
      #expect(all.map(\.name) == all.map(\.name).sorted())
      #expect(Set(all.map(\.name)).count == all.count)
      #expect(all.allSatisfy { $0.description.hasSuffix(".") && $0.class != .unspecified })
      let telemetry = try await server.client.listEventTypes(.init(class: .telemetry)).eventTypes
      #expect(telemetry == all.filter { $0.class == .telemetry })
      #expect(telemetry.contains { $0.name == EventServer.evaluated })
    }
  }
}
