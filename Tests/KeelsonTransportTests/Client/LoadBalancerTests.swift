import KeelsonTestKit
import KeelsonTransport
import Testing

struct LoadBalancerTests {
  private typealias Action = LoadBalancer.Action
  private static let (a, b, c) = (address(1), address(2), address(3))
  private let start = ContinuousClock.now

  private static func address(_ number: Int) -> ServerAddress {
    ServerAddress(SocketAddress(unixPath: "/\(number)")!)
  }

  private static func balancer(_ policy: LoadBalancingPolicy) -> LoadBalancer {
    LoadBalancer(
      policy: policy, backoff: ConnectionBackoff(jitter: 0), attemptDelay: .milliseconds(250),
      random: SeededGenerator(seed: 1))
  }

  private static let refused = ConnectionFailure(address: "x", reason: "refused")

  private func after(_ milliseconds: Int) -> ContinuousClock.Instant {
    start.advanced(by: .milliseconds(milliseconds))
  }

  // MARK: Pick first

  private func pickFirst() -> LoadBalancer {
    var balancer = Self.balancer(.pickFirst)
    _ = balancer.update([Self.a, Self.b, Self.c], at: start)
    return balancer
  }

  @Test func anAddressThatFailsIsFollowedByTheNextAtOnce() {
    var balancer = pickFirst()
    #expect(balancer.connectivity == .idle)
    #expect(balancer.activate(at: start) == [.connect(attempt: 1, Self.a)])
    #expect(
      balancer.failed(attempt: 1, Self.refused, at: after(5)) == [.connect(attempt: 2, Self.b)])
    #expect(balancer.connectivity == .connecting)
    #expect(balancer.connected(attempt: 2, at: after(6)) == [])
    #expect(balancer.ready == [2])
    #expect(balancer.wakeUp == nil)
  }

  @Test func anAddressThatDoesNotAnswerDoesNotHoldUpTheNext() {
    var balancer = pickFirst()
    _ = balancer.activate(at: start)
    #expect(balancer.wakeUp == after(250))
    #expect(balancer.wake(at: after(249)) == [])
    #expect(balancer.wake(at: after(250)) == [.connect(attempt: 2, Self.b)])
    #expect(balancer.wake(at: after(500)) == [.connect(attempt: 3, Self.c)])
    #expect(balancer.wakeUp == nil)
    // The first that answers is taken, the others are given up.
    let actions = balancer.connected(attempt: 2, at: after(510))
    #expect(actions == [.abandon(attempt: 1), .abandon(attempt: 3)])
    #expect(balancer.ready == [2])
  }

  @Test func whenAllHaveFailedEachIsTriedAgainByItsOwnBackoff() {
    var balancer = pickFirst()
    _ = balancer.activate(at: start)
    _ = balancer.failed(attempt: 1, Self.refused, at: after(10))
    _ = balancer.failed(attempt: 2, Self.refused, at: after(20))
    #expect(balancer.failed(attempt: 3, Self.refused, at: after(30)) == [.resolve])
    #expect(balancer.connectivity == .transientFailure)
    #expect(balancer.failures.count == 3)
    #expect(balancer.wakeUp == after(1_000))
    #expect(balancer.wake(at: after(1_000)) == [.connect(attempt: 4, Self.a)])
    #expect(balancer.wake(at: after(1_010)) == [.connect(attempt: 5, Self.b)])
    #expect(balancer.connectivity == .transientFailure)
    _ = balancer.connected(attempt: 5, at: after(1_020))
    #expect(balancer.connectivity == .ready)
    #expect(balancer.failures.isEmpty)
  }

  @Test func aLostConnectionMakesItIdleAndTheFirstAddressIsTriedFirstAgain() {
    var balancer = pickFirst()
    _ = balancer.activate(at: start)
    _ = balancer.failed(attempt: 1, Self.refused, at: start)
    _ = balancer.connected(attempt: 2, at: start)
    #expect(balancer.lost(connection: 2, at: after(5_000)) == [.resolve])
    #expect(balancer.connectivity == .idle)
    #expect(balancer.activate(at: after(5_001)) == [.connect(attempt: 3, Self.a)])
  }

  @Test func theConnectionStaysWhileItsAddressDoes() {
    var balancer = pickFirst()
    _ = balancer.activate(at: start)
    _ = balancer.connected(attempt: 1, at: start)
    #expect(balancer.update([Self.c, Self.a], at: start) == [])
    #expect(
      balancer.update([Self.b, Self.c], at: start)
        == [.close(connection: 1), .connect(attempt: 2, Self.b)])
    #expect(balancer.connectivity == .connecting)
  }

  @Test func attemptsStayWhileTheirAddressesDo() {
    var balancer = pickFirst()
    _ = balancer.activate(at: start)
    _ = balancer.wake(at: after(250))
    #expect(balancer.update([Self.b, Self.c], at: after(260)) == [.abandon(attempt: 1)])
    #expect(balancer.wake(at: after(510)) == [.connect(attempt: 3, Self.c)])
  }

  // MARK: Round robin

  private func roundRobin() -> LoadBalancer {
    var balancer = Self.balancer(.roundRobin)
    _ = balancer.update([Self.a, Self.b, Self.c], at: start)
    _ = balancer.activate(at: start)
    return balancer
  }

  @Test func allAddressesAreConnectedAndCallsTakeThemInTurn() {
    var balancer = Self.balancer(.roundRobin)
    #expect(balancer.update([Self.a, Self.b, Self.a], at: start) == [])
    #expect(
      balancer.activate(at: start)
        == [.connect(attempt: 1, Self.a), .connect(attempt: 2, Self.b)])
    #expect(balancer.pick() == nil)
    _ = balancer.connected(attempt: 2, at: start)
    #expect(balancer.connectivity == .ready)
    #expect([balancer.pick(), balancer.pick()] == [0, 0])
    _ = balancer.connected(attempt: 1, at: start)
    #expect(balancer.ready == [1, 2])
    let picks = (0..<6).map { _ in balancer.pick() }
    #expect(picks == [0, 1, 0, 1, 0, 1] || picks == [1, 0, 1, 0, 1, 0])
  }

  @Test func eachAddressHasItsOwnBackoff() {
    var balancer = roundRobin()
    _ = balancer.connected(attempt: 2, at: start)
    #expect(balancer.failed(attempt: 1, Self.refused, at: after(100)) == [.resolve])
    #expect(balancer.failed(attempt: 3, Self.refused, at: after(300)) == [.resolve])
    #expect(balancer.connectivity == .ready)
    #expect(
      balancer.wake(at: after(1_000))
        == [.connect(attempt: 4, Self.a), .connect(attempt: 5, Self.c)])
    _ = balancer.failed(attempt: 4, Self.refused, at: after(1_001))
    _ = balancer.connected(attempt: 5, at: after(1_001))
    #expect(balancer.wakeUp == after(1_000 + 1_600))
    #expect(balancer.ready == [2, 5])
  }

  @Test func aLostConnectionIsMadeAgainAtOnceAndTheOthersTakeTheCalls() {
    var balancer = roundRobin()
    for attempt in 1...3 { _ = balancer.connected(attempt: attempt, at: start) }
    #expect(
      balancer.lost(connection: 2, at: after(9_000)) == [.resolve, .connect(attempt: 4, Self.b)])
    #expect(balancer.ready == [1, 3])
  }

  @Test func itFailsOnlyWhenAllHaveFailed() {
    var balancer = roundRobin()
    _ = balancer.failed(attempt: 1, Self.refused, at: start)
    _ = balancer.failed(attempt: 2, Self.refused, at: start)
    #expect(balancer.connectivity == .connecting)
    _ = balancer.failed(attempt: 3, Self.refused, at: start)
    #expect(balancer.connectivity == .transientFailure)
    _ = balancer.wake(at: after(1_000))
    #expect(balancer.connectivity == .transientFailure, "until one is ready")
  }

  @Test func addressesThatVanishAreDrainedAndNewOnesJoin() {
    var balancer = roundRobin()
    _ = balancer.connected(attempt: 1, at: start)
    _ = balancer.failed(attempt: 2, Self.refused, at: start)
    let actions = balancer.update([Self.b, Self.address(4)], at: start)
    #expect(
      actions == [
        .close(connection: 1), .abandon(attempt: 3), .connect(attempt: 4, Self.address(4)),
      ])
    #expect(balancer.wakeUp == after(1_000), "the back-off of an address that stays goes on")
  }

  // MARK: Back-off

  @Test func attemptsAreSpacedFromTheirStartsAndTheSpaceGrows() {
    var balancer = Self.balancer(.pickFirst)
    _ = balancer.update([Self.a], at: start)
    _ = balancer.activate(at: start)
    var now = start
    var spaces: [Duration] = []
    for attempt in 1...14 {
      let started = now
      now = now.advanced(by: .milliseconds(400))
      _ = balancer.failed(attempt: attempt, Self.refused, at: now)
      guard let wakeUp = balancer.wakeUp else { break }
      spaces.append(started.duration(to: wakeUp))
      now = wakeUp
      #expect(balancer.wake(at: now) == [.connect(attempt: attempt + 1, Self.a)])
    }
    #expect(spaces.prefix(3) == [.seconds(1), .milliseconds(1600), .milliseconds(2560)])
    #expect(spaces.suffix(2) == [.seconds(120), .seconds(120)])
    _ = balancer.connected(attempt: 15, at: now)
    _ = balancer.lost(connection: 15, at: now)
    _ = balancer.activate(at: now)
    _ = balancer.failed(attempt: 16, Self.refused, at: now)
    #expect(balancer.wakeUp == now.advanced(by: .seconds(1)), "a success resets the backoff")
  }

  /// Or else a server that accepts and turns away at once would be connected to without end.
  @Test func connectionsThatAreLostAtOnceAreSpacedLikeFailures() {
    var balancer = roundRobin()
    _ = balancer.connected(attempt: 1, at: start)
    #expect(
      balancer.lost(connection: 1, at: start) == [.resolve, .connect(attempt: 4, Self.a)])
    _ = balancer.connected(attempt: 4, at: start)
    #expect(balancer.lost(connection: 4, at: start) == [.resolve])
    #expect(balancer.connectivity == .connecting)
    #expect(balancer.wake(at: after(999)) == [])
    #expect(balancer.wake(at: after(1_000)) == [.connect(attempt: 5, Self.a)])
    _ = balancer.connected(attempt: 5, at: after(1_000))
    #expect(
      balancer.lost(connection: 5, at: after(60_000)) == [.resolve, .connect(attempt: 6, Self.a)])
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
}
