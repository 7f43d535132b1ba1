import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonEvents

/// Random changes while subscribers come, go and resume: each has to get every event that it asked
/// for once and in order.
@Suite("A subscription loses and repeats nothing", .timeLimit(.minutes(2)))
struct SubscriptionModelTests {
  private typealias API = KeelsonEventsV1

  private static let types = ["FeatureFlagCreated", "FeatureFlagToggled", "FeatureFlagArchived"]

  @Test(arguments: TestEngine.allCases, [(1, 4_096), (2, 4), (3, 1)] as [(UInt64, Int)])
  func everyEventOnce(engine: TestEngine, _ round: (seed: UInt64, recent: Int)) async throws {
    var limits = EventLimits()
    limits.recentEvents = round.recent
    limits.heartbeatInterval = .milliseconds(3)
    try await EventServer.run(on: engine, limits: limits) { server in
      let end = Watchable<Int64?>(nil)
      try await withThrowingTaskGroup(of: (Int, [Int64]).self) { group in
        for reader in 0..<6 {
          group.addTask {
            (reader, try await follow(server, reader: reader, seed: round.seed, until: end))
          }
        }
        var all: [(revision: Int64, type: String)] = []
        for number in 0..<400 {
          let type = Self.types[number % Self.types.count]
          all.append((try await server.change(type, subject: "default/\(number % 7)"), type))
        }
        end.update { $0 = all.last?.revision }
        for try await (reader, revisions) in group {
          let wanted = all.filter { Self.wants(reader, $0.type) }.map(\.revision)
          #expect(revisions == wanted, "reader \(reader)")
        }
      }
    }
  }

  /// Odd readers want one type only.
  private static func wants(_ reader: Int, _ type: String) -> Bool {
    reader % 2 == 0 || type == types[reader / 2]
  }

  /// Reads streams of random length, each going on after the last, until the end has come.
  private func follow(
    _ server: EventServer, reader: Int, seed: UInt64, until end: Watchable<Int64?>
  ) async throws -> [Int64] {
    var random = SeededGenerator(seed: seed &* 31 &+ UInt64(reader) &+ 1)
    var position: Int64 = 0
    var found: [Int64] = []
    let types = reader % 2 == 0 ? [] : ["keelson.flags.\(Self.types[reader / 2])"]
    while true {
      var left = Int.random(in: 1...40, using: &random)
      let stream = server.client.subscribe(.init(types: types, start: .afterRevision(position)))
      for try await response in stream {
        #expect(response.revision >= position)
        if response.event != nil {
          #expect(response.revision > position)
          found.append(response.revision)
        }
        position = response.revision
        if let end = end.value, position >= end {
          stream.cancel()
          return found
        }
        left -= 1
        if left == 0 { break }
      }
      stream.cancel()
    }
  }
}
