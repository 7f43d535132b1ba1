import KeelsonAPI
import KeelsonCore
import KeelsonFlags
import KeelsonTestKit
import Testing

/// Random changes while watchers come, go and resume: what a watcher folds from its streams must
/// be what the server has, every revision once and in order.
@Suite struct FlagWatchModelTests {
  private typealias API = KeelsonFlagsV1

  /// What one watcher knows, kept across its streams.
  private struct Folded {
    var flags: [String: API.FlagRules] = [:]
    var segments: [String: String] = [:]
    var revision: Int64 = 0
    var snapshots = 0

    mutating func apply(_ response: API.WatchFlagsResponse) {
      switch response.event {
      case .snapshot(let snapshot):
        snapshots += 1
        #expect(response.revision >= revision)
        flags = Dictionary(uniqueKeysWithValues: snapshot.flags.map { ($0.key, $0) })
        segments = Dictionary(
          uniqueKeysWithValues: snapshot.segments.map { ($0.key, $0.condition) })
      case .change(let change):
        #expect(response.revision > revision, "a change came twice or out of order")
        switch change.change {
        case .flag(let rules): flags[rules.key] = rules
        case .removedFlag(let key): flags[key] = nil
        case .segment(let rules): segments[rules.key] = rules.condition
        case .removedSegment(let key): segments[key] = nil
        case .flagSet, nil: break
        }
      case .heartbeat:
        #expect(response.revision >= revision)
      case nil:
        Issue.record("an empty response")
      }
      revision = response.revision
    }
  }

  @Test(arguments: [(1, 1_024), (2, 1_024), (3, 4)])
  func everyWatcherEndsWithWhatTheServerHas(seed: UInt64, behind: Int) async throws {
    var limits = FlagLimits()
    limits.changesBehind = behind
    try await FlagServer.run(limits: limits) { server in
      let client = server.client
      let last = try await withThrowingTaskGroup(of: Folded?.self) { group in
        let end = Watchable<Int64?>(nil)
        for watcher in 0..<6 {
          group.addTask {
            try await follow(client, seed: seed &* 31 &+ UInt64(watcher), until: end)
          }
        }
        group.addTask {
          let marker = try await change(client, seed: seed, times: 300)
          // The end is known before the last change is made, so that everybody who gets it sees
          // that it is the last.
          end.update { $0 = marker + 1 }
          _ = try await client.archiveFlag(.init(key: "end"))
          return nil
        }
        return try await group.reduce(into: [Folded]()) { all, one in
          if let one { all.append(one) }
        }
      }
      var truth = Folded()
      for try await response in client.watchFlags(.init()) {
        truth.apply(response)
        break
      }
      #expect(last.count == 6)
      for watcher in last {
        #expect(watcher.flags == truth.flags)
        #expect(watcher.segments == truth.segments)
        #expect(watcher.revision == truth.revision)
      }
      if behind >= 1_024 {
        #expect(last.allSatisfy { $0.snapshots == 1 }, "resuming needed a snapshot")
      }
    }
  }

  /// Makes random changes, and one more; the revision of that.
  private func change(
    _ client: API.FlagServiceClient, seed: UInt64, times: Int
  ) async throws -> Int64 {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<times {
      let key = "flag-\(random.next() % 8)"
      do {
        switch random.next() % 6 {
        case 0:
          _ = try await client.createFlag(.init(flag: .init(key: key)))
        case 1:
          _ = try await client.archiveFlag(.init(key: key))
        case 2:
          _ = try await client.restoreFlag(.init(key: key))
        case 3:
          _ = try await client.createSegment(
            .init(segment: .init(key: key, condition: #"{"==": [1, 1]}"#)))
        case 4:
          _ = try await client.deleteSegment(.init(key: key))
        default:
          let isOn = random.next() % 2 == 0
          _ = try await client.toggleFlag(.init(key: key, enabled: isOn))
        }
      } catch let error as RPCError
        where [.notFound, .alreadyExists, .failedPrecondition].contains(error.code)
      {
        continue
      }
    }
    return try await client.createFlag(.init(flag: .init(key: "end"))).revision
  }

  /// Follows the changes over many streams, each ended after a random number of messages.
  private func follow(
    _ client: API.FlagServiceClient, seed: UInt64, until end: Watchable<Int64?>
  ) async throws -> Folded {
    var random = SeededGenerator(seed: seed)
    var folded = Folded()
    while true {
      var left = random.next() % 20 + 1
      for try await response in client.watchFlags(.init(resumeRevision: folded.revision)) {
        folded.apply(response)
        if let last = end.value, folded.revision >= last { return folded }
        left -= 1
        // A heartbeat comes only when there is nothing to wait for; go and look again.
        if left == 0 { break }
      }
    }
  }
}
