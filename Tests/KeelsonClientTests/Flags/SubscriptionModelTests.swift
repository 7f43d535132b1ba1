import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonClient

/// A client against a server whose streams break at random, compared with what the server knows.
@Suite("A flag subscription loses and repeats nothing")
struct SubscriptionModelTests {
  /// What evaluating a flag depends on, at one revision.
  private struct View: Equatable {
    var flag: KeelsonFlagsV1.FlagRules
    var conditions: [String: String]
    var set: KeelsonFlagsV1.FlagSetRules?
  }

  private static func views(of snapshot: KeelsonFlagsV1.FlagsSnapshot) -> [String: View] {
    var views: [String: View] = [:]
    for flag in snapshot.flags {
      var flag = flag
      flag.revision = 0
      let used = snapshot.segments.filter { flag.targeting.contains("\"\($0.key)\"") }
      views[flag.key] = View(
        flag: flag,
        conditions: Dictionary(uniqueKeysWithValues: used.map { ($0.key, $0.condition) }),
        set: snapshot.flagSet)
    }
    return views
  }

  /// The server's state after each of its revisions.
  private struct History {
    private var states: [Int64: [String: View]] = [0: [:]]
    private var order: [Int64] = [0]

    mutating func note(_ snapshot: KeelsonFlagsV1.FlagsSnapshot, at revision: Int64) {
      states[revision] = SubscriptionModelTests.views(of: snapshot)
      order.append(revision)
    }

    func state(at revision: Int64) -> [String: View]? { states[revision] }

    /// The keys that differ between two revisions.
    func difference(_ from: Int64, _ to: Int64) -> Set<String> {
      let before = states[from] ?? [:]
      let after = states[to] ?? [:]
      return Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }
    }

    /// The keys that any change between two revisions touched.
    func touched(_ from: Int64, _ to: Int64) -> Set<String> {
      let steps = order.filter { $0 >= from && $0 <= to }
      return zip(steps, steps.dropFirst()).reduce(into: []) { keys, step in
        keys.formUnion(difference(step.0, step.1))
      }
    }
  }

  private static let keys = (0..<12).map { "flag-\($0)" }
  private static let segments = ["staff", "beta"]

  private static func randomChange(
    using random: inout SeededGenerator
  ) -> KeelsonFlagsV1.FlagsChange.Change {
    let key = keys[Int.random(in: 0..<keys.count, using: &random)]
    let segment = segments[Int.random(in: 0..<segments.count, using: &random)]
    switch Int.random(in: 0..<20, using: &random) {
    case 0..<2: return .removedFlag(key)
    case 2..<5:
      let name = Int.random(in: 0..<3, using: &random)
      return .segment(.init(key: segment, condition: #"{"==": [{"var": "n"}, \#(name)]}"#))
    case 5: return .removedSegment(segment)
    case 6:
      let owner = Int.random(in: 0..<2, using: &random)
      return .flagSet(.init(metadata: .init(["owner": .number(Double(owner))])))
    case 7..<12:
      let targeting = #"{"if": [{"$ref": "\#(segment)"}, "on", "off"]}"#
      return .flag(.boolean(key, targeting: targeting))
    default:
      return .flag(
        .boolean(
          key, on: Bool.random(using: &random),
          enabled: Int.random(in: 0..<5, using: &random) > 0))
    }
  }

  private static var configuration: KeelsonClient.Configuration {
    var configuration = KeelsonClient.Configuration()
    configuration.subscription.backoff.initial = .milliseconds(1)
    configuration.subscription.backoff.maximum = .milliseconds(2)
    configuration.subscription.refusalInterval = .milliseconds(2)
    return configuration
  }

  /// Reads changes up to a revision.
  private static func collect(
    _ changes: FlagChanges, upTo revision: Signal<Int64>
  ) async -> [FlagChange] {
    var collected: [FlagChange] = []
    for await change in changes {
      collected.append(change)
      guard revision.hasHappened else { continue }
      let last = await revision.wait()
      if change.revision == last { break }
    }
    return collected
  }

  @Test("whatever breaks in between", arguments: 0..<20)
  func converges(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let server = FakeFlagServer()
    var history = History()
    try await withInProcessChannel(to: server.routes) { channel in
      let client = KeelsonClient(channel: channel, Self.configuration)
      let changes = client.flags.changes
      let lazyChanges = client.flags.changes
      var steps = client.flags.changes.makeAsyncIterator()
      let last = Signal<Int64>()
      async let eager = Self.collect(changes, upTo: last)

      for number in 0..<200 {
        let revision = server.apply(
          Self.randomChange(using: &random),
          skipping: Int64.random(in: 0..<3, using: &random))
        history.note(server.snapshot, at: revision)
        switch Int.random(in: 0..<12, using: &random) {
        case 0: server.disconnect()
        case 1: server.end(nil)
        case 2: server.end(RPCError(.internalError, "lost its thread"))
        case 3: server.forget()
        case 4: server.send(.heartbeat(.init(interval: .init(seconds: 20))))
        case 5: server.refuse(RPCError(.permissionDenied, "not you"))
        case 6: server.refuse(nil)
        case 7:
          // Wait until the client is up to date.
          server.refuse(nil)
          let revision = server.revision + 1
          server.apply(.flag(.boolean("step-\(number)")))
          history.note(server.snapshot, at: revision)
          while let change = await steps.next(), change.revision < revision {}
        default: await Task.yield()
        }
      }
      // Known to nobody before: it is in the last change, however that comes.
      server.refuse(nil)
      let revision = server.revision + 1
      last.send(revision)
      server.apply(.flag(.boolean("last")))
      history.note(server.snapshot, at: revision)

      let seen = await eager
      check(seen, against: history, upTo: revision)
      #expect(client.flags.revision == revision)
      let expected = FlagRuleSet(server.snapshot, revision: revision)
      #expect(Set(client.flags.keys) == Set(expected.keys))
      for key in expected.keys {
        for n in 0..<3 {
          let context: EvaluationContext = ["n": .number(Double(n))]
          let details = client.flags.boolDetails(key, default: false, context: context)
          let evaluation = expected.evaluate(key, context: context)
          #expect(details.variant == evaluation.variant)
          #expect(details.reason.rawValue == evaluation.reason.rawValue)
          #expect(details.metadata == evaluation.metadata)
        }
      }

      // The reader who comes late finds a few changes with everything in them.
      let late = await Self.collect(lazyChanges, upTo: last)
      #expect(late.count <= FlagChanges.bufferedChanges)
      check(late, against: history, upTo: revision)
      await client.shutdown()
    }
  }

  /// Each change names what differs between its revision and the one before it, all of it, and
  /// nothing that no change touched.
  private func check(_ changes: [FlagChange], against history: History, upTo last: Int64) {
    #expect(changes.last?.revision == last)
    var revision: Int64 = 0
    for change in changes {
      #expect(change.revision > revision)
      #expect(history.state(at: change.revision) != nil)
      let missing = history.difference(revision, change.revision).subtracting(change.keys)
      #expect(missing.isEmpty, "changed between \(revision) and \(change.revision), but not told")
      let invented = change.keys.subtracting(history.touched(revision, change.revision))
      #expect(invented.isEmpty, "told between \(revision) and \(change.revision), but untouched")
      revision = change.revision
    }
  }

  @Test("resuming spares the snapshot")
  func resumes() async throws {
    let server = FakeFlagServer()
    server.apply(.flag(.boolean("first")))
    try await withInProcessChannel(to: server.routes) { channel in
      let client = KeelsonClient(channel: channel, Self.configuration)
      try await client.flags.ready()
      var changes = client.flags.changes.makeAsyncIterator()
      for number in 1...50 {
        server.disconnect()
        let revision = server.apply(.flag(.boolean("flag-\(number)")))
        let change = await changes.next()
        #expect(change == FlagChange(keys: ["flag-\(number)"], revision: revision))
      }
      #expect(server.snapshotsSent == 1)
      let resumed = server.requests.dropFirst().map(\.resumeRevision)
      #expect(resumed.allSatisfy { $0 > 0 })
      await client.shutdown()
    }
  }
}
