import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonClient

@Suite("The state machine of a flag subscription")
struct FlagSubscriptionStateMachineTests {
  private let start = ContinuousClock.now
  private var random = SeededGenerator(seed: 7)

  private func machine() -> FlagSubscriptionStateMachine {
    var policy = SubscriptionPolicy()
    policy.backoff.jitter = 0
    return FlagSubscriptionStateMachine(policy: policy)
  }

  private func at(_ seconds: Double) -> ContinuousClock.Instant {
    start + .seconds(seconds)
  }

  private typealias Response = KeelsonFlagsV1.WatchFlagsResponse

  private func snapshot(
    _ revision: Int64, _ flags: [KeelsonFlagsV1.FlagRules]
  ) -> Response {
    Response(revision: revision, event: .snapshot(.init(flags: flags)))
  }

  private func change(_ revision: Int64, _ flag: KeelsonFlagsV1.FlagRules) -> Response {
    Response(revision: revision, event: .change(.init(change: .flag(flag))))
  }

  private func heartbeat(_ revision: Int64, seconds: Int64) -> Response {
    Response(revision: revision, event: .heartbeat(.init(interval: .init(seconds: seconds))))
  }

  private func step(of step: FlagSubscriptionStateMachine.Step) -> (resume: Int64, waits: Bool)? {
    if case .call(let resume, let waits) = step { (resume, waits) } else { nil }
  }

  /// Fails the call under way and begins the next one when its time has come.
  ///
  /// - Returns: how long the machine waited, and what the next call is.
  private mutating func failAndRetry(
    _ machine: inout FlagSubscriptionStateMachine, with error: RPCError?, at seconds: Double
  ) throws -> (waited: Duration, resume: Int64, waitsForReady: Bool) {
    machine.callEnded(with: error, at: at(seconds), using: &random)
    guard case .wait(let until) = machine.next(at: at(seconds)) else {
      Issue.record("no wait after a failure")
      throw CancellationError()
    }
    let (resume, waits) = try #require(step(of: machine.next(at: until)))
    return (at(seconds).duration(to: until), resume, waits)
  }

  @Test("begins with a snapshot, then takes each change")
  mutating func begins() {
    var machine = machine()
    #expect(machine.next(at: start) == .call(resumeRevision: 0, waitForReady: false))
    #expect(machine.status(at: start).state == .connecting)

    let first = machine.receive(snapshot(5, [.boolean("a"), .boolean("b")]), at: at(1))
    #expect(first == .rules(FlagChange(keys: ["a", "b"], revision: 5)))
    #expect(machine.status(at: at(1)).state == .current)
    #expect(machine.rules?.count == 2)

    let second = machine.receive(change(8, .boolean("a", on: false)), at: at(2))
    #expect(second == .rules(FlagChange(keys: ["a"], revision: 8)))
    #expect(machine.revision == 8)
    #expect(machine.rules?.revision == 8)
  }

  @Test("resumes after the last revision, which heartbeats move as well")
  mutating func resumes() throws {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(5, [.boolean("a")]), at: start)
    _ = machine.receive(heartbeat(9, seconds: 20), at: at(1))
    let retry = try failAndRetry(&machine, with: RPCError(.unavailable, "gone"), at: 2)
    #expect(retry.resume == 9)
    #expect(machine.receive(heartbeat(9, seconds: 20), at: at(3)) == .none)
    #expect(machine.status(at: at(3)).state == .current)
    #expect(machine.status(at: at(3)).error == nil)
  }

  @Test("takes no change twice")
  mutating func ignoresRepetition() {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(5, [.boolean("a")]), at: start)
    #expect(machine.receive(change(5, .boolean("a", on: false)), at: start) == .none)
    #expect(machine.receive(change(4, .boolean("z")), at: start) == .none)
    #expect(machine.rules?.count == 1)
    #expect(machine.rules?.definition("a")?.defaultVariant == "on")
  }

  @Test("does not call a flag changed when only its revision is another")
  mutating func seesOnlyDifferences() {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(5, [.boolean("a")]), at: start)
    var same = KeelsonFlagsV1.FlagRules.boolean("a")
    same.revision = 6
    #expect(machine.receive(change(6, same), at: start) == .rules(nil))
    #expect(machine.rules?.definition("a")?.revision == 6)
  }

  @Test("a snapshot replaces everything, also by older rules, and tells what differs")
  mutating func replaces() throws {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(
      snapshot(9, [.boolean("same"), .boolean("gone"), .boolean("other")]), at: start)
    _ = try failAndRetry(&machine, with: nil, at: 1)
    let reaction = machine.receive(
      snapshot(3, [.boolean("same"), .boolean("new"), .boolean("other", on: false)]), at: at(2))
    #expect(reaction == .rules(FlagChange(keys: ["gone", "new", "other"], revision: 3)))
    #expect(machine.revision == 3)
  }

  @Test("gives up a server that sends a change ahead of the snapshot")
  mutating func wantsSnapshotFirst() {
    var machine = machine()
    _ = machine.next(at: start)
    guard case .abandon(let error) = machine.receive(change(1, .boolean("a")), at: start) else {
      Issue.record("the change was taken")
      return
    }
    #expect(error.code == .internalError)
    #expect(machine.rules == nil)
  }

  @Test(
    "after a failure that is not about the connection, only a snapshot counts",
    arguments: [RPCError.Code.internalError, .unknown, .dataLoss, .invalidArgument, .outOfRange])
  mutating func startsOver(code: RPCError.Code) throws {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(5, [.boolean("a")]), at: start)
    let retry = try failAndRetry(&machine, with: RPCError(code, "broken"), at: 1)
    #expect(retry.resume == 0)
    // Asked for a snapshot, the server may not go on as if it had been asked to resume.
    guard case .abandon = machine.receive(change(6, .boolean("b")), at: at(60)) else {
      Issue.record("the change was taken")
      return
    }
  }

  @Test("waits longer after each failure, and again briefly after a stable stream")
  mutating func backsOff() throws {
    var machine = machine()
    _ = machine.next(at: start)
    let error = RPCError(.unavailable, "refused")
    var waits: [Duration] = []
    for second in 1...12 {
      waits.append(try failAndRetry(&machine, with: error, at: Double(second) * 100).waited)
    }
    #expect(waits[0] == .milliseconds(200))
    #expect(zip(waits, waits.dropFirst()).allSatisfy { $0 <= $1 })
    #expect(waits[11] == .seconds(15))

    _ = machine.receive(snapshot(1, []), at: at(2_000))
    let hasty = try failAndRetry(&machine, with: error, at: 2_001)
    #expect(hasty.waited == .seconds(15), "a stream that ends at once makes up for nothing")

    _ = machine.receive(snapshot(1, []), at: at(3_000))
    let stable = try failAndRetry(&machine, with: error, at: 3_010)
    #expect(stable.waited == .milliseconds(200))
  }

  @Test(
    "retries a refusal slowly, and says so",
    arguments: [
      RPCError.Code.unimplemented, .invalidArgument, .permissionDenied, .unauthenticated, .notFound,
    ])
  mutating func refused(code: RPCError.Code) throws {
    var machine = machine()
    _ = machine.next(at: start)
    let error = RPCError(code, "no")
    let retry = try failAndRetry(&machine, with: error, at: 1)
    #expect(retry.waited == .seconds(30))
    #expect(machine.status(at: at(31)).state == .refused)
    #expect(machine.status(at: at(31)).error == error)
    _ = machine.receive(snapshot(1, []), at: at(32))
    #expect(machine.status(at: at(32)).state == .current)
  }

  @Test("a refusal after flags have come leaves them in use, as stale")
  mutating func refusedLater() throws {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(1, [.boolean("a")]), at: start)
    _ = try failAndRetry(&machine, with: RPCError(.permissionDenied, "revoked"), at: 1)
    #expect(machine.status(at: at(2)).state == .stale(since: start))
    #expect(machine.rules?.count == 1)
  }

  @Test("does not come back before the server said, within reason")
  mutating func honoursRetryInfo() throws {
    var machine = machine()
    _ = machine.next(at: start)
    let later = RPCError(.unavailable, "stopping", details: [.retryInfo(.seconds(5))])
    let retry = try failAndRetry(&machine, with: later, at: 1)
    #expect(retry.waited == .milliseconds(5_200))
    let never = RPCError(.unavailable, "stopping", details: [.retryInfo(.seconds(1_000_000))])
    let capped = try failAndRetry(&machine, with: never, at: 100)
    #expect(capped.waited < .seconds(31))
  }

  @Test("fails fast to learn why, and waits for the connection, in turns")
  mutating func alternates() throws {
    var machine = machine()
    #expect(step(of: machine.next(at: start))?.waits == false)
    let unavailable = RPCError(.unavailable, "connection refused")
    let second = try failAndRetry(&machine, with: unavailable, at: 1)
    #expect(second.waitsForReady)

    // It waits in vain: what the first attempt said stays.
    let isSilent = machine.checkSilence(at: at(600))
    #expect(isSilent)
    let third = try failAndRetry(&machine, with: RPCError(.cancelled, "cancelled"), at: 600)
    #expect(!third.waitsForReady)
    #expect(machine.status(at: at(600)).error == unavailable)
  }

  @Test("gives up a server that is silent for two heartbeat intervals")
  mutating func noticesSilence() throws {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(1, []), at: start)
    _ = machine.receive(heartbeat(1, seconds: 20), at: at(10))
    #expect(machine.silenceDeadline == at(50))
    let isSilentEarly = machine.checkSilence(at: at(49.9))
    #expect(!isSilentEarly)
    #expect(machine.status(at: at(49.9)).state == .current)
    // Seen at once, even by a process that was stopped and has not run its timers yet.
    #expect(machine.status(at: at(50)).state == .stale(since: at(10)))
    let isSilent = machine.checkSilence(at: at(50))
    #expect(isSilent)
    let isSilentAgain = machine.checkSilence(at: at(51))
    #expect(!isSilentAgain, "once is enough")
    #expect(machine.silenceDeadline == nil)

    #expect(machine.receive(change(2, .boolean("a")), at: at(51)) == .none, "too late")
    let retry = try failAndRetry(&machine, with: RPCError(.cancelled, ""), at: 51)
    #expect(retry.resume == 1)
    #expect(machine.status(at: at(52)).error?.code == .unavailable)
    #expect(machine.status(at: at(52)).heartbeats == 1)
  }

  @Test("a server cannot make the client reconnect all the time, or never")
  mutating func boundsIntervals() {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(heartbeat(0, seconds: 0), at: start)
    #expect(machine.heartbeatInterval == .milliseconds(100))
    _ = machine.receive(heartbeat(0, seconds: 1_000_000), at: start)
    #expect(machine.heartbeatInterval == .seconds(3_600))
  }

  @Test("a message of a later version is a sign of life")
  mutating func toleratesTheUnknown() {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(1, []), at: start)
    #expect(machine.receive(Response(revision: 4), at: at(30)) == .none)
    let change = Response(revision: 5, event: .change(.init()))
    #expect(machine.receive(change, at: at(40)) == .none)
    #expect(machine.revision == 5)
    #expect(machine.silenceDeadline == at(100))
  }

  @Test("does nothing after its end")
  mutating func ends() {
    var machine = machine()
    _ = machine.next(at: start)
    _ = machine.receive(snapshot(1, [.boolean("a")]), at: start)
    machine.end()
    machine.callEnded(with: nil, at: start, using: &random)
    #expect(machine.next(at: at(100)) == .end)
    #expect(machine.receive(change(2, .boolean("b")), at: start) == .none)
    #expect(machine.status(at: start).state == .shutdown)
  }
}
