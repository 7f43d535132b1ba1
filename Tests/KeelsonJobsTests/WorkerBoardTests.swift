import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import Testing

@testable import KeelsonJobs

/// Which workers a server gives jobs to.
@Suite struct WorkerBoardTests {
  private let lane = JobEngine.Lane(queue: "mail", kind: "send")
  private let start = ContinuousClock.now
  private let time = UnixTime(microseconds: 1_000_000_000)

  private func board(_ change: (inout JobLimits) -> Void = { _ in }) -> WorkerBoard {
    var limits = JobLimits()
    change(&limits)
    var board = WorkerBoard(limits: limits)
    board.restore([lane])
    var session = WorkerSession(
      id: "session", name: "worker", queues: ["mail"], kinds: ["send"], peer: "",
      connectTime: time, lastHeardTime: time)
    session.credit = 100
    board.connect(session)
    return board
  }

  private func give(
    _ count: Int, at now: ContinuousClock.Instant, _ board: inout WorkerBoard
  ) -> [JobID] {
    let look = board.looking(at: [lane])
    var claims = JobEngine.Claims()
    for _ in 0..<count {
      var created = KeelsonJobsV1.Job()
      created.queue = "mail"
      created.kind = "send"
      var job = StoredJob(new: created, id: .make(at: time), runTime: time, now: time)
      job.session = "session"
      _ = try? job.move(at: time) { life throws(JobLifecycle.Refusal) in
        try life.claim(worker: "worker", lease: .seconds(30), timeout: nil, now: time)
      }
      claims.jobs.append(job)
    }
    claims.more = [lane]
    #expect(board.deliver(claims, since: look, at: now).isEmpty)
    return claims.jobs.map(\.id)
  }

  private func send(_ board: inout WorkerBoard) {
    board.update("session") { session in
      while session.takeOutbox() != nil {}
    }
  }

  private func lose(
    _ id: JobID, at now: ContinuousClock.Instant, _ board: inout WorkerBoard
  ) {
    var news = KeelsonJobsV1.Job()
    news.id = id.text
    news.queue = "mail"
    news.kind = "send"
    news.state = .scheduled
    news.attempt = 1
    board.note(news, cancelled: nil, at: now)
  }

  @Test func aWorkerThatHasNotBeenSentWhatItGotGetsNoMore() throws {
    var board = board()
    #expect(board.work(at: start)?.demands.map(\.credit) == [100])
    _ = give(10, at: start, &board)
    #expect(board.work(at: start) == nil)
    send(&board)
    #expect(board.work(at: start)?.demands.map(\.credit) == [90])
  }

  @Test func aWorkerHoldsNoMoreJobsThanOneMay() throws {
    var board = board { $0.credit = 12 }
    _ = give(10, at: start, &board)
    send(&board)
    #expect(board.work(at: start)?.demands.map(\.credit) == [2])
    _ = give(2, at: start, &board)
    send(&board)
    #expect(board.work(at: start) == nil)
  }

  @Test func aSilentWorkerGetsNoMoreUntilItIsHeardOf() throws {
    var board = board()
    let job = give(1, at: start, &board)[0]
    send(&board)
    #expect(board.work(at: start + .seconds(19)) != nil)
    #expect(board.work(at: start + .seconds(20)) == nil)
    // Its lease ends; it would have the job again.
    lose(job, at: start + .seconds(30), &board)
    send(&board)
    #expect(board.work(at: start + .seconds(300)) == nil)
    board.update("session") { $0.hear(at: time + .seconds(300)) }
    #expect(board.work(at: start + .seconds(300)) != nil)
    #expect(board.sessions["session"]?.lastHeardTime == time + .seconds(300))
  }

  @Test func aWorkerWithoutJobsNeedNotSayAnything() throws {
    var board = board()
    #expect(board.work(at: start + .seconds(86_400)) != nil)
    let jobs = give(2, at: start, &board)
    send(&board)
    for job in jobs { lose(job, at: start + .seconds(5), &board) }
    send(&board)
    #expect(board.work(at: start + .seconds(86_400)) != nil)
  }

  @Test func itIsSilentFromTheFirstJobOnThatItSaysNothingAbout() throws {
    var board = board()
    _ = give(1, at: start, &board)
    send(&board)
    board.update("session") { $0.hear(at: time + .seconds(10)) }
    _ = give(1, at: start + .seconds(15), &board)
    send(&board)
    _ = give(1, at: start + .seconds(30), &board)
    send(&board)
    #expect(board.work(at: start + .seconds(34)) != nil)
    #expect(board.work(at: start + .seconds(35)) == nil)
  }

  @Test func patienceEndsBeforeALeaseDoes() throws {
    var limits = JobLimits()
    #expect(limits.patience == .seconds(20))
    limits.heartbeatInterval = .seconds(29)
    #expect(limits.patience == .seconds(27))
  }

  // MARK: Leases

  /// What it is told since it was last asked.
  private func told(_ board: inout WorkerBoard) -> KeelsonJobsV1.WorkResponse {
    var told = KeelsonJobsV1.WorkResponse()
    board.update("session") { session in
      while let next = session.takeOutbox() { told = next }
    }
    return told
  }

  @Test func aHeartbeatOfAnOldAttemptLeavesTheNewOne() throws {
    var board = board()
    let id = give(1, at: start, &board)[0]
    send(&board)
    // As after the second attempt has come on the same stream.
    board.update("session") { $0.running[id] = 2 }
    board.settle([(id, 1)], held: [], of: "session", isNew: false, at: start)
    #expect(board.sessions["session"]?.running[id] == 2)
    #expect(told(&board).lost.map(\.attempt) == [1])
    board.settle(
      [(id, 1), (id, 2)], held: [.init(id: id, attempt: 2)], of: "session", isNew: false,
      at: start)
    #expect(board.sessions["session"]?.running[id] == 2)
    #expect(told(&board).lost.map(\.attempt) == [1])
  }

  @Test func aCancellationThatWasMissedIsToldOnce() throws {
    var board = board()
    let id = give(1, at: start, &board)[0]
    send(&board)
    let held = [JobEngine.Held(id: id, attempt: 1, grace: .seconds(7))]
    board.settle([(id, 1)], held: held, of: "session", isNew: false, at: start)
    #expect(told(&board).cancellations.map(\.grace) == [.init(.seconds(7))])
    board.settle([(id, 1)], held: held, of: "session", isNew: false, at: start)
    #expect(told(&board).cancellations.isEmpty)
  }

  @Test func aWorkerThatSaysNoMoreGetsNothing() throws {
    var board = board()
    _ = give(2, at: start, &board)
    let handedBack = board.drain("session")
    #expect(handedBack.map(\.attempt) == [1, 1])
    #expect(board.sessions["session"]?.isOver == true)

    var created = KeelsonJobsV1.Job()
    created.queue = "mail"
    var job = StoredJob(new: created, id: .make(at: time), runTime: time, now: time)
    job.session = "session"
    var claims = JobEngine.Claims()
    claims.jobs = [job]
    let look = board.looking(at: [lane])
    #expect(board.deliver(claims, since: look, at: start).map(\.id) == [job.id])
    #expect(board.sessions["session"]?.outbox == nil)
  }

  @Test func aLaneThatWasFreedDuringALookIsLookedAtAgain() throws {
    var board = board()
    let other = JobEngine.Lane(queue: "other", kind: "send")
    var claims = JobEngine.Claims()
    claims.blocked = [lane, other]
    let look = board.looking(at: [lane, other])
    board.unblock("mail")
    _ = board.deliver(claims, since: look, at: start)
    #expect(board.ready == [lane] && board.blocked == [other])
    let next = board.looking(at: [lane])
    board.unblock()
    claims.blocked = [lane]
    _ = board.deliver(claims, since: next, at: start)
    #expect(board.ready == [lane, other] && board.blocked.isEmpty)
  }

  @Test func resultsAreTakenByTheirBytes() throws {
    var board = board()
    let large = KeelsonJobsV1.Payload(kind: .data([UInt8](repeating: 1, count: 3 << 20)))
    let results = (0..<5).map { _ in
      JobEngine.Result(id: .make(at: time), attempt: 1, outcome: .succeeded(large))
    }
    board.add(results, from: "session")
    #expect(board.takeResults(1_000).count == 2)
    #expect(board.takeResults(1).count == 1)
    #expect(board.takeResults(1_000).count == 2)
    #expect(board.takeResults(1_000).isEmpty)
  }
}
