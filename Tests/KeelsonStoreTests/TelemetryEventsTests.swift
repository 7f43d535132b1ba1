import KeelsonCore
import KeelsonStore
import Synchronization
import Testing

@Suite struct TelemetryEventsTests {
  private func publish(_ type: String, to events: TelemetryEvents) {
    events.publish(type: type) { TelemetryEvent(type: type, subject: "s") }
  }

  @Test func anEventIsMadeOnlyForSomebody() async throws {
    let events = TelemetryEvents()
    let made = Mutex(0)
    func publish() {
      events.publish(type: "a") {
        made.withLock { $0 += 1 }
        return TelemetryEvent(type: "a", subject: "")
      }
    }
    publish()
    #expect(made.withLock { $0 } == 0)
    var other: TelemetryEvents.Subscription? = events.subscribe(limit: 1) { $0 == "b" }
    publish()
    #expect(made.withLock { $0 } == 0)
    #expect(events.hasListeners)
    let listener = events.subscribe(limit: 1) { $0 == "a" }
    publish()
    #expect(made.withLock { $0 } == 1)
    let batch = try await listener.next()
    #expect(batch?.events.map(\.type) == ["a"])
    withExtendedLifetime(other) {}
    other = nil
    publish()
    #expect(made.withLock { $0 } == 2)
  }

  @Test func whatNobodyWantedIsNotCounted() async throws {
    let events = TelemetryEvents()
    let listener = events.subscribe(
      limit: 1, wants: { $0.subject == "rare" }, wantsType: { $0 == "a" })
    for subject in ["often", "often", "rare", "often"] {
      events.publish(type: "a") { TelemetryEvent(type: "a", subject: subject) }
    }
    let batch = try await listener.next()
    #expect(batch?.events.map(\.subject) == ["rare"])
    #expect(batch?.dropped == 0)
  }

  @Test func whatDoesNotFitIsCounted() async throws {
    let events = TelemetryEvents()
    let listener = events.subscribe(limit: 2) { _ in true }
    for number in 0..<5 { publish("\(number)", to: events) }
    let first = try await listener.next()
    #expect(first?.events.map(\.type) == ["0", "1"])
    #expect(first?.dropped == 3)
    publish("5", to: events)
    let second = try await listener.next()
    #expect(second?.events.map(\.type) == ["5"])
    #expect(second?.dropped == 0)
  }

  @Test func aWaitEndsWithAnEventItsTaskOrTheServer() async throws {
    let events = TelemetryEvents()
    let listener = events.subscribe(limit: 2) { _ in true }
    let waiting = Task { try await listener.next() }
    publish("a", to: events)
    let woken = try await waiting.value
    #expect(woken?.events.count == 1)
    let cancelled = Task { try await listener.next() }
    cancelled.cancel()
    await #expect(throws: CancellationError.self) { try await cancelled.value }
    let finished = Task { try await listener.next() }
    events.finish()
    let none = try await finished.value
    #expect(none == nil)
  }
}
