import KeelsonAPI
import KeelsonCore
import Testing

@testable import KeelsonFlags

@Suite struct FlagWatchesTests {
  private typealias Topic = FlagTopic

  private let topic = Topic(set: "default", environment: "test")

  private func limits(behind: Int = 8, subscribers: Int = 100) -> FlagLimits {
    var limits = FlagLimits()
    limits.changesBehind = behind
    limits.subscribers = subscribers
    return limits
  }

  private func change(_ key: String, set: String = "default") -> FlagRuleBook.Change {
    .flag(KeelsonFlagsV1.Flag(flagSet: set, key: key))
  }

  private func revisions(_ delivery: FlagWatches.Delivery) -> [Int64]? {
    guard case .messages(let messages, _) = delivery else { return nil }
    return messages.map(\.revision)
  }

  @Test func deliversWhatCameAfterEntering() throws {
    let watches = FlagWatches(limits: limits())
    watches.publish(change("a"), revision: 1)
    let (position, revision) = try watches.enter(topic)
    #expect(revision == 1)
    #expect(revisions(watches.available(topic, at: position)) == [])
    watches.publish(change("b"), revision: 2)
    watches.publish(change("elsewhere", set: "other"), revision: 3)
    watches.publish(change("c"), revision: 4)
    #expect(revisions(watches.available(topic, at: position)) == [2, 4])
    #expect(revisions(watches.available(topic, at: position + 1)) == [4])
  }

  @Test func theSameBytesGoToEverySubscriber() throws {
    let watches = FlagWatches(limits: limits())
    _ = try watches.enter(topic)
    let (position, _) = try watches.enter(topic)
    watches.publish(change("a"), revision: 1)
    guard case .messages(let messages, _) = watches.available(topic, at: position) else {
      Issue.record("nothing delivered")
      return
    }
    let response = try KeelsonFlagsV1.WatchFlagsResponse(decoding: messages[0].bytes)
    #expect(response.revision == 1)
    guard case .change(let change)? = response.event, case .flag(let rules)? = change.change else {
      Issue.record("no flag")
      return
    }
    #expect(rules.key == "a")
  }

  @Test func whoFallsTooFarBehindIsTold() throws {
    let watches = FlagWatches(limits: limits(behind: 8))
    let (position, _) = try watches.enter(topic)
    for revision in 1...9 { watches.publish(change("a"), revision: Int64(revision)) }
    guard case .behind = watches.available(topic, at: position) else {
      Issue.record("not told")
      return
    }
    let end = watches.end(of: topic)
    #expect(end.revision == 9)
    #expect(revisions(watches.available(topic, at: end.position)) == [])
  }

  @Test func wakesWhoWaits() async throws {
    let watches = FlagWatches(limits: limits())
    let (position, _) = try watches.enter(topic)
    async let next = watches.next(topic, at: position)
    watches.publish(change("a"), revision: 1)
    #expect(revisions(try await next) == [1])
  }

  @Test func cancellingEndsTheWait() async throws {
    let watches = FlagWatches(limits: limits())
    let (position, _) = try watches.enter(topic)
    let task = Task { [topic] in try await watches.next(topic, at: position) }
    task.cancel()
    await #expect(throws: CancellationError.self) { _ = try await task.value }
  }

  @Test func closingEndsEveryWaitAndEntry() async throws {
    let watches = FlagWatches(limits: limits())
    let (position, _) = try watches.enter(topic)
    async let next = watches.next(topic, at: position)
    watches.close()
    guard case .closed = try await next else {
      Issue.record("not closed")
      return
    }
    let error = #expect(throws: RPCError.self) { try watches.enter(topic) }
    #expect(error?.code == .unavailable)
  }

  @Test func beatsOnlyForTheSilent() throws {
    let watches = FlagWatches(limits: limits())
    let (position, _) = try watches.enter(topic)
    watches.publish(change("a"), revision: 5)
    watches.beat()
    #expect(revisions(watches.available(topic, at: position)) == [5])
    watches.beat()
    guard case .messages(let messages, _) = watches.available(topic, at: position) else {
      Issue.record("nothing delivered")
      return
    }
    #expect(messages.map(\.isHeartbeat) == [false, true])
    #expect(messages.map(\.revision) == [5, 5])
  }

  @Test func subscribersAreCounted() throws {
    let watches = FlagWatches(limits: limits(subscribers: 2))
    _ = try watches.enter(topic)
    _ = try watches.enter(Topic(set: "default", environment: "other"))
    let error = #expect(throws: RPCError.self) { try watches.enter(topic) }
    #expect(error?.code == .resourceExhausted)
    watches.leave(topic)
    _ = try watches.enter(topic)
  }

  @Test func aSnapshotIsKeptUntilTheNextRevision() throws {
    let watches = FlagWatches(limits: limits())
    _ = try watches.enter(topic)
    _ = watches.keep(.init(revision: 3, isHeartbeat: false, bytes: [1]), for: topic)
    #expect(watches.snapshot(topic, revision: 3)?.bytes == [1])
    #expect(watches.snapshot(topic, revision: 4) == nil)
  }

  @Test func aHeartbeatNeverOvertakesAChange() async throws {
    let watches = FlagWatches(limits: limits(behind: 10_000))
    let (position, _) = try watches.enter(topic)
    let last: Int64 = 2_000
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        for revision in 1...last { watches.publish(self.change("a"), revision: revision) }
      }
      group.addTask { for _ in 0..<4_000 { watches.beat() } }
    }
    guard case .messages(let messages, _) = watches.available(topic, at: position) else {
      Issue.record("nothing delivered")
      return
    }
    var sent: Int64 = 0
    for message in messages {
      if message.isHeartbeat {
        #expect(message.revision <= sent, "a heartbeat named a change that had not come yet")
      } else {
        #expect(message.revision == sent + 1)
        sent = message.revision
      }
    }
    #expect(sent == last)
  }

  @Test func largeChangesPushOutOldOnesByTheirBytes() throws {
    var limits = limits(behind: 1_000)
    limits.changeBytesBehind = 10_000
    let watches = FlagWatches(limits: limits)
    let (position, _) = try watches.enter(topic)
    var large = KeelsonFlagsV1.Flag(key: "a")
    large.variants = ["on": GoogleProtobuf.Value(.string(String(repeating: "x", count: 3_000)))]
    large.flagSet = "default"
    for revision in 1...4 { watches.publish(.flag(large), revision: Int64(revision)) }
    guard case .behind = watches.available(topic, at: position) else {
      Issue.record("not told")
      return
    }
    #expect(revisions(watches.available(topic, at: 3)) == [4])
  }
}
