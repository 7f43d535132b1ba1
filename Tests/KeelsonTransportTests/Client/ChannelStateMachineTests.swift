import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

struct ChannelStateMachineTests {
  private typealias Machine = ChannelStateMachine<Int>
  private static let addresses = (1...3).map { number in
    ServerAddress(SocketAddress(unixPath: "/\(number)")!)
  }
  private let start = ContinuousClock.now

  private static func machine(
    _ policy: LoadBalancingPolicy = .pickFirst, jitter: Double = 0, seed: UInt64 = 1
  ) -> Machine {
    let backoff = ConnectionBackoff(jitter: jitter)
    return Machine(
      target: "the target",
      resolution: ResolutionStateMachine(
        interval: .seconds(30), backoff: backoff, random: SeededGenerator(seed: seed)),
      balancer: LoadBalancer(
        policy: policy, backoff: backoff, attemptDelay: .milliseconds(250),
        random: SeededGenerator(seed: seed + 1)))
  }

  private static func failure(_ reason: String = "refused") -> ConnectionFailure {
    ConnectionFailure(address: "/1", reason: reason)
  }

  /// A machine with one address, and its first attempt, 1, under way.
  private func connecting(waitForReady: Bool = false) -> Machine {
    var machine = Self.machine()
    _ = machine.submit(7, waitForReady: waitForReady, at: start)
    _ = machine.resolved([Self.addresses[0]], at: start)
    return machine
  }

  @Test func theFirstCallResolvesConnectsAndBegins() {
    var machine = Self.machine()
    #expect(machine.connectivity == .idle)
    guard case .wait(let first) = machine.submit(7, waitForReady: false, at: start),
      first.count == 1, case .resolve = first[0]
    else {
      Issue.record("the call did not have the name resolved")
      return
    }
    #expect(machine.connectivity == .connecting)
    let found = machine.resolved([Self.addresses[0]], at: start)
    guard found.count == 1, case .connect(attempt: 1, Self.addresses[0]) = found[0] else {
      Issue.record("no attempt: \(found)")
      return
    }
    guard case .wait(let second) = machine.submit(8, waitForReady: false, at: start),
      second.isEmpty
    else {
      Issue.record("the second call asked for another connection")
      return
    }
    let connected = machine.connected(attempt: 1, at: start)
    guard connected.count == 1, case .resume([7, 8]) = connected[0] else {
      Issue.record("the waiting calls did not begin: \(connected)")
      return
    }
    #expect(machine.connectivity == .ready)
    guard case .start(connection: 1) = machine.submit(9, waitForReady: false, at: start) else {
      Issue.record("a call on a ready channel did not begin")
      return
    }
  }

  @Test func aFailedAttemptFailsThoseWhoDoNotWaitForReady() {
    var machine = connecting()
    _ = machine.submit(8, waitForReady: true, at: start)
    let actions = machine.failed(attempt: 1, Self.failure(), at: start)
    guard case .fail([7], let error)? = actions.last else {
      Issue.record("unexpected: \(actions)")
      return
    }
    #expect(error.message == "the target: /1 refused; is the server running?")
    #expect(machine.connectivity == .transientFailure)
    #expect(machine.waitingCalls == 1)
    guard case .fail = machine.submit(9, waitForReady: false, at: start) else {
      Issue.record("a call that does not wait for ready was kept")
      return
    }
    let moment = start.advanced(by: .seconds(1))
    #expect(machine.wakeUp == moment)
    guard case .connect(attempt: 2, _)? = machine.wake(at: moment).first else {
      Issue.record("no second attempt")
      return
    }
    #expect(machine.connectivity == .transientFailure, "until one succeeds")
    guard case .resume([8])? = machine.connected(attempt: 2, at: moment).first else {
      Issue.record("the call that waited did not begin")
      return
    }
    #expect(machine.lastError == nil)
  }

  @Test func withoutAddressesCallsFailAndTheNameIsResolvedAgain() {
    var machine = Self.machine()
    _ = machine.submit(1, waitForReady: false, at: start)
    let actions = machine.resolutionFailed("the name is not known", at: start)
    guard case .fail([1], let error)? = actions.first else {
      Issue.record("the call was kept")
      return
    }
    #expect(error.message == "the target: the name is not known; is the server running?")
    #expect(machine.connectivity == .transientFailure)
    let moment = start.advanced(by: .seconds(1))
    #expect(machine.wakeUp == moment)
    guard case .resolve? = machine.wake(at: moment).first else {
      Issue.record("no second resolution")
      return
    }
    guard case .connect? = machine.resolved([Self.addresses[0]], at: moment).first else {
      Issue.record("no attempt")
      return
    }
    #expect(machine.connectivity == .connecting)
  }

  @Test(arguments: [true, false])
  func addressesThatWereGoodStayWhenNoneAreFound(isEmpty: Bool) {
    var machine = connecting()
    _ = machine.connected(attempt: 1, at: start)
    _ = machine.unusable(connection: 1, at: start)
    let later = start.advanced(by: .seconds(40))
    _ = machine.wake(at: later)
    let actions =
      isEmpty
      ? machine.resolved([], at: later) : machine.resolutionFailed("no answer", at: later)
    #expect(actions.isEmpty)
    guard case .wait(let wanted) = machine.submit(1, waitForReady: false, at: later),
      case .connect(_, Self.addresses[0])? = wanted.first
    else {
      Issue.record("the address is not used any more")
      return
    }
  }

  @Test func aLostConnectionHasTheNameResolvedAgainAfterTheInterval() {
    var machine = connecting()
    _ = machine.connected(attempt: 1, at: start)
    #expect(machine.unusable(connection: 1, at: start.advanced(by: .seconds(2))).isEmpty)
    #expect(machine.connectivity == .idle)
    let moment = start.advanced(by: .seconds(30))
    #expect(machine.wakeUp == moment)
    guard case .resolve? = machine.wake(at: moment).first else {
      Issue.record("the name was not resolved")
      return
    }
  }

  @Test func shutdownFailsWhatWaitsAndClosesTheConnection() {
    var machine = connecting(waitForReady: true)
    let actions = machine.shutDown()
    guard actions.count == 2, case .abandon(attempt: 1) = actions[0],
      case .fail([7], let error) = actions[1]
    else {
      Issue.record("unexpected: \(actions)")
      return
    }
    #expect(error.code == .unavailable)
    guard case .close(connection: 1)? = machine.connected(attempt: 1, at: start).first else {
      Issue.record("a connection that came too late was kept")
      return
    }
    #expect(machine.connectivity == .shutdown)
    #expect(machine.wakeUp == nil)
  }

  @Test func anIdleChannelLetsItsConnectionGoAndTheNextCallMakesOne() {
    var machine = connecting()
    _ = machine.connected(attempt: 1, at: start)
    guard case .close(connection: 1)? = machine.becomeIdle().first else {
      Issue.record("the connection stays open")
      return
    }
    #expect(machine.connectivity == .idle)
    guard case .wait(let wanted) = machine.submit(1, waitForReady: false, at: start),
      case .connect(attempt: 2, _)? = wanted.first
    else {
      Issue.record("no new connection")
      return
    }
  }
}
