import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// Random events against a model of what is around the machine: every call is in exactly one place,
/// attempts and connections are those that were asked for, and nobody waits without something on
/// its way.
struct ChannelStateMachineRandomTests {
  private static let addresses = (1...6).map { number in
    ServerAddress(SocketAddress(unixPath: "/\(number)")!)
  }

  @Test(arguments: [LoadBalancingPolicy.pickFirst, .roundRobin])
  func randomEventsLoseNoCall(policy: LoadBalancingPolicy) {
    for seed in 0..<1_000 as Range<UInt64> {
      var world = World(policy: policy, seed: seed)
      for _ in 0..<200 {
        world.step()
        world.check()
        if world.hasFailed { return }
      }
    }
  }

  private struct World {
    typealias Machine = ChannelStateMachine<Int>

    let policy: LoadBalancingPolicy
    let seed: UInt64
    var random: SeededGenerator
    var machine: Machine
    var now = ContinuousClock.now
    /// Those that wait, and whether for ready.
    var waiting: [Int: Bool] = [:]
    var ended: Set<Int> = []
    var started = 0
    var isResolving = false
    var attempts: [Int: ServerAddress] = [:]
    var connections: [Int: ServerAddress] = [:]
    var known: [ServerAddress] = []
    var isShutDown = false
    var nextCall = 0
    var hasFailed = false

    init(policy: LoadBalancingPolicy, seed: UInt64) {
      self.policy = policy
      self.seed = seed
      random = SeededGenerator(seed: seed)
      machine = Machine(
        target: "t",
        resolution: ResolutionStateMachine(
          interval: .seconds(5), backoff: ConnectionBackoff(), random: SeededGenerator(seed: seed)),
        balancer: LoadBalancer(
          policy: policy, backoff: ConnectionBackoff(), attemptDelay: .milliseconds(250),
          random: SeededGenerator(seed: seed)))
    }

    mutating func expect(_ condition: Bool, _ rule: String) {
      guard !condition, !hasFailed else { return }
      hasFailed = true
      Issue.record("\(rule) (policy \(policy), seed \(seed))")
    }

    mutating func apply(_ actions: [Machine.Action]) {
      for action in actions {
        switch action {
        case .resolve:
          expect(!isResolving, "one resolution at a time")
          isResolving = true
        case .connect(let number, let address):
          expect(known.contains(address), "only known addresses are tried")
          expect(!attempts.values.contains(address), "one attempt to an address at a time")
          expect(attempts.updateValue(address, forKey: number) == nil, "numbers are new")
        case .abandon(let number):
          expect(attempts.removeValue(forKey: number) != nil, "what is abandoned was begun")
        case .close(let number):
          expect(connections.removeValue(forKey: number) != nil, "what is closed was open")
        case .resume(let calls):
          for call in calls {
            expect(waiting[call] != nil, "only those that wait are resumed")
            let waitForReady = waiting.removeValue(forKey: call) ?? false
            submit(call, waitForReady: waitForReady)
          }
        case .fail(let calls, _):
          for call in calls {
            expect(waiting.removeValue(forKey: call) != nil, "only those that wait are failed")
            expect(ended.insert(call).inserted, "a call ends once")
          }
        }
      }
    }

    mutating func submit(_ call: Int, waitForReady: Bool) {
      switch machine.submit(call, waitForReady: waitForReady, at: now) {
      case .start(let number):
        expect(connections[number] != nil, "calls begin on open connections")
        expect(ended.insert(call).inserted, "a call begins once")
        started += 1
      case .fail:
        expect(isShutDown || (!waitForReady && machine.ready.isEmpty), "no call fails for nothing")
        expect(ended.insert(call).inserted, "a call ends once")
      case .wait(let actions):
        waiting[call] = waitForReady
        apply(actions)
      }
    }

    mutating func step() {
      now = now.advanced(by: .milliseconds(Int.random(in: 0...300, using: &random)))
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<25:
        nextCall += 1
        submit(nextCall, waitForReady: Bool.random(using: &random))
      case 25..<30:
        if let call = waiting.keys.min() {
          machine.withdraw { $0 == call }
          waiting[call] = nil
          ended.insert(call)
        }
      case 30..<45: resolutionEnds()
      case 45..<58:
        if let (number, address) = attempts.min(by: { $0.key < $1.key }) {
          attempts[number] = nil
          connections[number] = address
          apply(machine.connected(attempt: number, at: now))
        }
      case 58..<70:
        if let (number, address) = attempts.max(by: { $0.key < $1.key }) {
          attempts[number] = nil
          apply(
            machine.failed(
              attempt: number,
              ConnectionFailure(address: address.description, reason: "refused"), at: now))
        }
      case 70..<82:
        if let wakeUp = machine.wakeUp {
          now = max(now, wakeUp)
          apply(machine.wake(at: now))
        }
      case 82..<92:
        if let number = connections.keys.min() {
          let actions = machine.unusable(connection: number, at: now)
          connections[number] = nil
          apply(actions)
        }
      case 92..<95: apply(machine.connect(at: now))
      case 95..<97: apply(machine.addressesChanged(at: now))
      case 97..<99: apply(machine.becomeIdle())
      default:
        if Int.random(in: 0..<4, using: &random) == 0 {
          isShutDown = true
          apply(machine.shutDown())
        }
      }
    }

    mutating func resolutionEnds() {
      guard isResolving else { return }
      isResolving = false
      let count = Int.random(in: 0...4, using: &random)
      let found = Array(
        ChannelStateMachineRandomTests.addresses.shuffled(using: &random).prefix(count))
      if Bool.random(using: &random), count > 0 {
        if !isShutDown { known = found }
        apply(machine.resolved(found, at: now))
      } else {
        apply(machine.resolutionFailed("no answer", at: now))
      }
    }

    mutating func check() {
      expect(machine.waitingCalls == waiting.count, "the machine knows who waits")
      expect(ended.count + waiting.count == nextCall, "no call is lost")
      expect(
        waiting.isEmpty || isResolving || !attempts.isEmpty || machine.wakeUp != nil,
        "who waits waits for something")
      expect(Set(machine.ready) == Set(connections.keys), "what is ready is what is open")
      expect(policy == .roundRobin || machine.ready.count <= 1, "pick first has one connection")
      expect((machine.connectivity == .ready) == !connections.isEmpty, "ready means ready")
      expect(
        machine.connectivity != .transientFailure || waiting.values.allSatisfy { $0 },
        "while it fails only those wait that want to")
      expect(waiting.isEmpty || connections.isEmpty, "nobody waits beside a connection")
    }
  }
}
