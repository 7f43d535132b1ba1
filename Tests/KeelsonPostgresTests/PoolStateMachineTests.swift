import KeelsonTestKit
import Testing

@testable import KeelsonPostgres

@Suite struct PoolStateMachineTests {
  private typealias Machine = PoolStateMachine

  private func expect(
    _ actions: [Machine.Action], _ expected: [Machine.Action],
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(actions == expected, sourceLocation: sourceLocation)
  }

  /// A pool whose first connection is used by the request 1.
  private func used(limit: Int = 2, waitingLimit: Int = 3) -> Machine {
    var machine = Machine(limit: limit, waitingLimit: waitingLimit)
    expect(machine.request(1), [.connect(1)])
    expect(machine.connected(1, now: 0), [.grant(1, 1)])
    return machine
  }

  @Test func aConnectionIsMadeWhenSomebodyWantsOneAndKept() {
    var machine = used()
    #expect(machine.usedCount == 1)
    expect(machine.released(1, now: 5), [])
    expect(machine.request(2), [.grant(2, 1)])
    #expect(machine.openCount == 1)
  }

  @Test func noMoreConnectionsThanTheLimitAndTheOthersWaitInOrder() {
    var machine = used()
    expect(machine.request(2), [.connect(2)])
    expect(machine.request(3), [])
    expect(machine.request(4), [])
    expect(machine.request(5), [.refuse(5, .overloaded)])
    #expect(machine.waitingCount == 3)
    expect(machine.connected(2, now: 0), [.grant(2, 2)])
    expect(machine.released(1, now: 0), [.grant(3, 1)])
    expect(machine.released(2, now: 0), [.grant(4, 2)])
  }

  @Test func whoGaveUpIsPassedOver() {
    var machine = used(limit: 1)
    expect(machine.request(2), [])
    expect(machine.request(3), [])
    let (gaveUp, again) = (machine.giveUp(2), machine.giveUp(2))
    #expect(gaveUp && !again)
    expect(machine.released(1, now: 0), [.grant(3, 1)])
    let late = machine.giveUp(3)
    #expect(!late)
  }

  @Test func anUnreachableServerRefusesAtOnceUntilARetrySucceeds() {
    var machine = Machine(limit: 2, waitingLimit: 9)
    expect(machine.request(1), [.connect(1)])
    expect(machine.request(2), [.connect(2)])
    expect(
      machine.connectingFailed(1),
      [.scheduleRetry, .refuse(1, .unreachable), .refuse(2, .unreachable)])
    // One retry for attempts that fail together.
    expect(machine.connectingFailed(2), [])
    #expect(!machine.isReachable)
    expect(machine.request(3), [.refuse(3, .unreachable)])
    expect(machine.retryIsDue(), [.connect(3)])
    expect(machine.retryIsDue(), [])
    expect(machine.request(4), [.refuse(4, .unreachable)])
    expect(machine.connectingFailed(3), [.scheduleRetry])
    expect(machine.retryIsDue(), [.connect(4)])
    expect(machine.connected(4, now: 0), [.resetRetry])
    expect(machine.request(5), [.grant(5, 4)])
  }

  /// The attempt that fails began before the server was back, and its pause would refuse whoever
  /// asks meanwhile.
  @Test func aServerThatIsBackIsWaitedForWhateverOlderAttemptsSay() {
    var machine = Machine(limit: 2, waitingLimit: 10)
    expect(machine.request(1), [.connect(1)])
    expect(machine.connectingFailed(1), [.scheduleRetry, .refuse(1, .unreachable)])
    expect(machine.retryIsDue(), [.connect(2)])
    expect(machine.serverIsBack(), [.resetRetry])
    expect(machine.serverIsBack(), [])
    expect(machine.connectingFailed(2), [])
    expect(machine.request(2), [.connect(3)])
    expect(machine.connected(3, now: 0), [.grant(2, 3)])
    // One that begins afterwards does say something.
    expect(machine.request(3), [.connect(4)])
    expect(machine.lost(3), [])
    expect(machine.connectingFailed(4), [.scheduleRetry, .refuse(3, .unreachable)])
    // Whoever asks while the older attempt still runs waits for it, and then for another.
    expect(machine.retryIsDue(), [.connect(5)])
    expect(machine.serverIsBack(), [.resetRetry])
    expect(machine.request(4), [])
    expect(machine.connectingFailed(5), [.connect(6)])
    expect(machine.connected(6, now: 0), [.grant(4, 6)])
  }

  @Test func whileAConnectionLivesItIsWaitedForEvenIfNoNewOneCanBeMade() {
    var machine = used()
    expect(machine.request(2), [.connect(2)])
    expect(machine.connectingFailed(2), [.scheduleRetry])
    expect(machine.released(1, now: 0), [.grant(2, 1)])
    expect(machine.request(3), [])
    // The last one that lived is gone.
    expect(machine.lost(1), [.refuse(3, .unreachable)])
  }

  @Test func aLostConnectionIsReplacedWhenSomebodyWaits() {
    var machine = used(limit: 1)
    expect(machine.request(2), [])
    expect(machine.lost(1), [.connect(2)])
    expect(machine.connected(2, now: 0), [.grant(2, 2)])
    expect(machine.lost(1), [])
  }

  @Test func idleConnectionsGoButOne() {
    var machine = used()
    expect(machine.request(2), [.connect(2)])
    expect(machine.connected(2, now: 0), [.grant(2, 2)])
    expect(machine.released(1, now: 10), [])
    expect(machine.released(2, now: 20), [])
    expect(machine.closeIdle(since: 10), [])
    expect(machine.closeIdle(since: 30), [.close(1)])
    expect(machine.closeIdle(since: 30), [])
    expect(machine.request(3), [.grant(3, 2)])
  }

  @Test func closingRefusesWhoWaitsAndTakesBackWhatIsUsed() {
    var machine = used()
    expect(machine.request(2), [.connect(2)])
    expect(machine.close(), [.refuse(2, .closed)])
    expect(machine.close(), [])
    expect(machine.request(3), [.refuse(3, .closed)])
    // The one that was being made.
    expect(machine.connected(2, now: 0), [.close(2)])
    expect(machine.released(1, now: 0), [.close(1)])
    #expect(machine.openCount == 0)
    expect(machine.retryIsDue(), [])
  }

  /// Whatever happens, nobody has a connection that somebody else has, the limit holds, and
  /// whoever asked is answered once.
  @Test(arguments: 1...50) func randomEventsKeepTheRules(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var machine = Machine(limit: 3, waitingLimit: 4)
    var connecting: Set<Int> = []
    var idle: Set<Int> = []
    var holders: [Int: UInt64] = [:]
    var asked: Set<UInt64> = []
    var next: UInt64 = 0
    var retryIsScheduled = false
    func apply(_ actions: [Machine.Action]) {
      for action in actions {
        switch action {
        case .connect(let id): #expect(connecting.insert(id).inserted)
        case .grant(let request, let id):
          #expect(asked.remove(request) != nil)
          #expect(holders[id] == nil)
          idle.remove(id)
          holders[id] = request
        case .refuse(let request, _): #expect(asked.remove(request) != nil)
        case .close(let id):
          holders[id] = nil
          idle.remove(id)
        case .scheduleRetry:
          #expect(!retryIsScheduled)
          retryIsScheduled = true
        case .resetRetry: break
        }
      }
      #expect(connecting.count + idle.count + holders.count <= 3)
      #expect(machine.usedCount == holders.count)
    }
    for step in 0..<400 {
      switch random.next() % 9 {
      case 8: apply(machine.serverIsBack())
      case 0, 1, 2:
        next += 1
        asked.insert(next)
        apply(machine.request(next))
      case 3:
        if let id = asked.sorted().randomElement(using: &random), machine.giveUp(id) {
          asked.remove(id)
        }
      case 4:
        if let id = connecting.sorted().randomElement(using: &random) {
          connecting.remove(id)
          idle.insert(id)
          apply(machine.connected(id, now: UInt64(step)))
        }
      case 5:
        if let id = connecting.sorted().randomElement(using: &random) {
          connecting.remove(id)
          apply(machine.connectingFailed(id))
        }
      case 6:
        if let id = holders.keys.sorted().randomElement(using: &random) {
          holders[id] = nil
          idle.insert(id)
          apply(machine.released(id, now: UInt64(step)))
        }
      default:
        if retryIsScheduled {
          retryIsScheduled = false
          apply(machine.retryIsDue())
        } else if let id = (idle.sorted() + holders.keys.sorted()).randomElement(using: &random) {
          idle.remove(id)
          holders[id] = nil
          apply(machine.lost(id))
        }
      }
    }
    apply(machine.close())
    #expect(asked.isEmpty)
  }
}
