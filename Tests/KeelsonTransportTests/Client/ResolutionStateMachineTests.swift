import KeelsonTestKit
import KeelsonTransport
import Testing

struct ResolutionStateMachineTests {
  private let start = ContinuousClock.now

  private func after(_ seconds: Int) -> ContinuousClock.Instant {
    start.advanced(by: .seconds(seconds))
  }

  private static func machine() -> ResolutionStateMachine {
    ResolutionStateMachine(
      interval: .seconds(30), backoff: ConnectionBackoff(jitter: 0),
      random: SeededGenerator(seed: 1))
  }

  @Test func resolvesWhenAskedAndNotMoreOftenThanTheInterval() {
    var machine = Self.machine()
    #expect(machine.wakeUp == nil)
    #expect(machine.request(at: start) == true)
    #expect(machine.request(at: after(1)) == false, "one is under way")
    #expect(machine.succeeded(at: after(2)) == false)
    #expect(machine.wakeUp == nil, "nobody has asked again")
    #expect(machine.request(at: after(3)) == false)
    #expect(machine.request(at: after(4)) == false)
    #expect(machine.wakeUp == after(30))
    #expect(machine.wake(at: after(29)) == false)
    #expect(machine.wake(at: after(30)) == true)
    #expect(machine.succeeded(at: after(31)) == false)
    #expect(machine.request(at: after(61)) == true, "the interval is over")
  }

  @Test func failuresAreTriedAgainByBackoff() {
    var machine = Self.machine()
    var now = start
    var pauses: [Duration] = []
    #expect(machine.request(at: now) == true)
    for _ in 0..<4 {
      #expect(machine.failed(at: now) == false)
      #expect(machine.request(at: now) == false, "the back-off decides")
      guard let wakeUp = machine.wakeUp else { break }
      pauses.append(now.duration(to: wakeUp))
      now = wakeUp
      #expect(machine.wake(at: now) == true)
    }
    #expect(
      pauses == [.seconds(1), .milliseconds(1_600), .milliseconds(2_560), .milliseconds(4_096)])
    #expect(machine.succeeded(at: now) == false)
    #expect(machine.wakeUp == nil)
  }

  @Test func theResolversOwnNewsNeedNoInterval() {
    var machine = Self.machine()
    #expect(machine.changed(at: start) == false, "nobody wants addresses yet")
    #expect(machine.request(at: start) == true)
    #expect(machine.changed(at: start) == false, "one is under way")
    #expect(machine.succeeded(at: after(1)) == true, "and its answer may be old")
    #expect(machine.succeeded(at: after(1)) == false)
    #expect(machine.changed(at: after(2)) == true)
  }
}
