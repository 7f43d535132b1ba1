import KeelsonCore
import KeelsonTransport
import Testing

struct ChannelStateMachineTests {
  private typealias Machine = ChannelStateMachine<Int>
  private static let refused = RPCError(.unavailable, "connection refused")
  private let start = ContinuousClock.now

  private static func machine(jitter: Double = 0) -> Machine {
    Machine(backoff: ConnectionBackoff(jitter: jitter), random: SeededGenerator(seed: 1))
  }

  @Test func theFirstCallConnectsAndBeginsOnceConnected() throws {
    var machine = Self.machine()
    #expect(machine.connectivity == .idle)
    guard case .wait(.connect(attempt: 1)?) = machine.submit(7, waitForReady: false, at: start)
    else {
      Issue.record("the call did not ask for a connection")
      return
    }
    #expect(machine.connectivity == .connecting)
    guard case .wait(nil) = machine.submit(8, waitForReady: false, at: start) else {
      Issue.record("the second call asked for another connection")
      return
    }
    let actions = machine.connected(attempt: 1)
    guard case .start([7, 8], connection: 1)? = actions.first, actions.count == 1 else {
      Issue.record("the waiting calls did not begin: \(actions)")
      return
    }
    #expect(machine.connectivity == .ready)
    guard case .start(connection: 1) = machine.submit(9, waitForReady: false, at: start) else {
      Issue.record("a call on a ready channel did not begin")
      return
    }
  }

  @Test func aFailedAttemptFailsThoseWhoDoNotWaitForReady() {
    var machine = Self.machine()
    _ = machine.submit(1, waitForReady: false, at: start)
    _ = machine.submit(2, waitForReady: true, at: start)
    let actions = machine.failed(attempt: 1, Self.refused, at: start)
    guard actions.count == 2, case .scheduleRetry(let moment) = actions[0],
      case .fail([1], Self.refused) = actions[1]
    else {
      Issue.record("unexpected: \(actions)")
      return
    }
    #expect(moment == start.advanced(by: .seconds(1)))
    #expect(machine.connectivity == .transientFailure)
    #expect(machine.waitingCalls == 1)
    guard case .fail(Self.refused) = machine.submit(3, waitForReady: false, at: start) else {
      Issue.record("a call that does not wait for ready was kept")
      return
    }
    guard case .connect(attempt: 2)? = machine.retry(at: moment).first else {
      Issue.record("no second attempt")
      return
    }
    #expect(machine.connectivity == .transientFailure)
    guard case .start([2], connection: 2)? = machine.connected(attempt: 2).first else {
      Issue.record("the call that waited did not begin")
      return
    }
  }

  @Test func attemptsAreSpacedFromTheirStartsAndTheSpaceGrows() {
    var machine = Self.machine()
    var now = start
    _ = machine.connect(at: now)
    var spaces: [Duration] = []
    for attempt in 1...14 {
      let started = now
      now = now.advanced(by: .milliseconds(400))
      guard
        case .scheduleRetry(let moment)? = machine.failed(attempt: attempt, Self.refused, at: now)
          .first
      else { break }
      spaces.append(started.duration(to: moment))
      now = moment
      _ = machine.retry(at: now)
    }
    #expect(spaces.prefix(3) == [.seconds(1), .milliseconds(1600), .milliseconds(2560)])
    #expect(spaces.suffix(2) == [.seconds(120), .seconds(120)])
    _ = machine.connected(attempt: 15)
    _ = machine.unusable(connection: 15, at: now)
    _ = machine.connect(at: now)
    guard
      case .scheduleRetry(let moment)? = machine.failed(attempt: 16, Self.refused, at: now).first
    else {
      Issue.record("no retry")
      return
    }
    #expect(now.duration(to: moment) == .seconds(1), "a success resets the backoff")
  }

  @Test func jitterStaysWithinItsBounds() {
    var random = SeededGenerator(seed: 5)
    let backoff = ConnectionBackoff()
    var seen: Set<Duration> = []
    for _ in 0..<1000 {
      let interval = backoff.interval(afterFailures: 2, using: &random)
      #expect(interval >= .milliseconds(2047) && interval <= .milliseconds(3073))
      seen.insert(interval)
    }
    #expect(seen.count > 900)
  }

  @Test func shutdownFailsWhatWaitsAndClosesTheConnection() {
    var machine = Self.machine()
    _ = machine.submit(1, waitForReady: true, at: start)
    let actions = machine.shutDown()
    guard actions.count == 2, case .abandon(attempt: 1) = actions[0],
      case .fail([1], let error) = actions[1]
    else {
      Issue.record("unexpected: \(actions)")
      return
    }
    #expect(error.code == .unavailable)
    guard case .close(connection: 1)? = machine.connected(attempt: 1).first else {
      Issue.record("a connection that came too late was kept")
      return
    }
    #expect(machine.connectivity == .shutdown)
  }

  /// Random events against a model: every call is in exactly one place, there is at most one
  /// attempt, and nobody waits without something on its way.
  @Test(arguments: 0..<50 as Range<UInt64>)
  func randomEventsLoseNoCall(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var machine = Self.machine(jitter: 0.2)
    var now = start
    var waiting: [Int: Bool] = [:]
    var ended: Set<Int> = []
    var attempt: Int?
    var connection: Int?
    var retryDue = false
    var isShutDown = false
    var nextCall = 0

    func apply(_ actions: [Machine.Action]) {
      for action in actions {
        switch action {
        case .connect(let number):
          #expect(attempt == nil && connection == nil && !retryDue)
          attempt = number
        case .abandon(let number):
          #expect(attempt == number)
          attempt = nil
        case .scheduleRetry(let moment):
          #expect(moment >= now && !retryDue)
          retryDue = true
        case .cancelRetry:
          #expect(retryDue)
          retryDue = false
        case .start(let calls, let number):
          #expect(number == connection)
          for call in calls {
            #expect(waiting.removeValue(forKey: call) != nil)
            #expect(ended.insert(call).inserted)
          }
        case .fail(let calls, _):
          for call in calls {
            #expect(waiting.removeValue(forKey: call) != nil)
            #expect(ended.insert(call).inserted)
          }
        case .close(let number):
          #expect(number == connection && isShutDown)
          connection = nil
        }
      }
    }

    for _ in 0..<400 {
      now = now.advanced(by: .milliseconds(Int.random(in: 0...500, using: &random)))
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<40:
        let call = nextCall
        nextCall += 1
        let waitForReady = Bool.random(using: &random)
        switch machine.submit(call, waitForReady: waitForReady, at: now) {
        case .start(let number):
          #expect(number == connection)
          ended.insert(call)
        case .fail:
          #expect(isShutDown || (!waitForReady && connection == nil))
          ended.insert(call)
        case .wait(let action):
          waiting[call] = waitForReady
          if let action { apply([action]) }
        }
      case 40..<50:
        if let call = waiting.keys.min() {
          machine.withdraw { $0 == call }
          waiting[call] = nil
          ended.insert(call)
        }
      case 50..<65:
        if let number = attempt {
          attempt = nil
          connection = number
          apply(machine.connected(attempt: number))
        }
      case 65..<80:
        if let number = attempt {
          attempt = nil
          apply(machine.failed(attempt: number, Self.refused, at: now))
          #expect(waiting.values.allSatisfy { $0 })
        }
      case 80..<90:
        if retryDue {
          retryDue = false
          apply(machine.retry(at: now))
        }
      case 90..<98:
        if let number = connection {
          connection = nil
          apply(machine.unusable(connection: number, at: now))
        }
      case 98: apply(machine.connect(at: now))
      default:
        if Int.random(in: 0..<4, using: &random) == 0 {
          isShutDown = true
          apply(machine.shutDown())
        }
      }
      #expect(machine.waitingCalls == waiting.count)
      #expect(ended.count + waiting.count == nextCall)
      #expect(waiting.isEmpty || attempt != nil || retryDue)
      #expect((machine.connectivity == .ready) == (connection != nil))
    }
  }
}
