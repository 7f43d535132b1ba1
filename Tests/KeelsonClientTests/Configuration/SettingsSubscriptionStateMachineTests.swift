import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonClient

@Suite struct SettingsSubscriptionStateMachineTests {
  private typealias Machine = SettingsSubscriptionStateMachine
  private typealias API = KeelsonConfigurationV1

  private let start = ContinuousClock.now

  private func setting(_ key: String, _ value: Int64) -> API.EffectiveSetting {
    .init(key: key, value: .init(kind: .integerValue(value)), layer: .api)
  }

  private func snapshot(_ revision: Int64, _ settings: [API.EffectiveSetting], layers: String = "")
    -> API.WatchSettingsResponse
  {
    .init(revision: revision, event: .snapshot(.init(settings: settings)), layers: layers)
  }

  private func change(
    _ revision: Int64, _ settings: [API.EffectiveSetting] = [], removed: [String] = [],
    layers: String = ""
  ) -> API.WatchSettingsResponse {
    .init(
      revision: revision, event: .change(.init(settings: settings, removedKeys: removed)),
      layers: layers)
  }

  private func live() -> Machine {
    var machine = Machine(policy: SubscriptionPolicy())
    _ = machine.next(at: start)
    return machine
  }

  @Test func foldsChangesIntoTheSnapshot() {
    var machine = live()
    #expect(machine.status(at: start).state == .connecting)
    #expect(
      machine.receive(snapshot(5, [setting("A", 1), setting("B", 1)]), at: start)
        == .settings(SettingsChange(keys: ["A", "B"], revision: 5)))
    #expect(machine.status(at: start).state == .current)
    #expect(
      machine.receive(change(6, [setting("A", 2)], removed: ["B"]), at: start)
        == .settings(SettingsChange(keys: ["A", "B"], revision: 6)))
    #expect(machine.receive(change(6, [setting("A", 9)]), at: start) == .none)
    #expect(machine.snapshot?["A"] == .integer(2))
    #expect(machine.snapshot?["B"] == nil)
    #expect(machine.snapshot?.revision == 6)
    // The same again is no change.
    #expect(machine.receive(snapshot(7, [setting("A", 2)]), at: start) == .settings(nil))
  }

  @Test func resumesFromTheLastRevisionAndLayers() {
    var machine = live()
    _ = machine.receive(snapshot(5, [setting("A", 1)], layers: "one"), at: start)
    _ = machine.receive(change(6, [setting("A", 2)], layers: "two"), at: start)
    var random = SeededGenerator(seed: 1)
    machine.callEnded(with: RPCError(.unavailable, "gone"), at: start, using: &random)
    #expect(machine.status(at: start).state == .stale(since: start))
    let later = start + .seconds(60)
    guard case .call(6, "two", _) = machine.next(at: later) else {
      Issue.record("does not resume")
      return
    }
    machine.callEnded(with: RPCError(.internalError, "broken"), at: later, using: &random)
    guard case .call(0, _, _) = machine.next(at: later + .seconds(60)) else {
      Issue.record("resumes after a failure that only a snapshot cures")
      return
    }
  }

  @Test func aChangeAheadOfTheSnapshotIsABrokenServer() {
    var machine = live()
    guard case .abandon(let error) = machine.receive(change(1, [setting("A", 1)]), at: start) else {
      Issue.record("taken")
      return
    }
    #expect(error.code == .internalError)
  }
}
