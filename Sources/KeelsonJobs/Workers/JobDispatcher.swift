import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import Synchronization

/// Hands jobs to the workers that are connected to this server, and takes their results.
///
/// Two loops, each with one transaction under way at a time, so that what comes meanwhile makes the
/// next batch: one hands out, one takes results. A third moves the jobs whose time has come.
final class JobDispatcher: Sendable {
  typealias API = KeelsonJobsV1

  let engine: JobEngine
  let limits: JobLimits
  private let board: Mutex<WorkerBoard>
  private let handOut = Wakeup()
  private let results = Wakeup()
  private let clock = Wakeup()
  private let limitsClock = Wakeup()
  /// When a limit of a rate lets jobs begin again.
  private let retryTime = Mutex<ContinuousClock.Instant?>(nil)
  private let isLeader = Atomic(false)
  /// When the clock's loop last got round; nil before it has begun.
  private let clockRound = Mutex<ContinuousClock.Instant?>(nil)
  let tallies = JobTallies()
  private let watches: JobWatches
  private let zones: TimeZoneDatabase
  private let logger: Logger

  /// How long to wait after the database has failed.
  private static let pause: Duration = .milliseconds(200)
  /// How long the clock sleeps at most: other servers may have scheduled something since.
  private static let longestSleep: Duration = .seconds(1)
  private static let limitsInterval: Duration = .seconds(5)

  init(
    engine: JobEngine, limits: JobLimits, watches: JobWatches, zones: TimeZoneDatabase,
    logger: Logger
  ) {
    self.zones = zones
    self.watches = watches
    self.engine = engine
    self.limits = limits
    board = Mutex(WorkerBoard(limits: limits))
    self.logger = logger
  }

  // MARK: Life

  /// Where jobs may wait already.
  func start(at lanes: [JobEngine.Lane]) {
    board.withLock { $0.expect(lanes) }
  }

  /// Runs until the task is cancelled.
  func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.runHandingOut() }
      group.addTask { await self.runResults() }
      group.addTask { await self.runClock() }
      group.addTask { await self.runLimits() }
      group.addTask { await self.runPruning() }
    }
  }

  /// Hands out no more, and tells the workers.
  func stop() {
    board.withLock { $0.stop() }
  }

  // MARK: Handing out

  /// Looks where jobs are being created, so that one commit makes them and hands them out. Where it
  /// looks too early their events tell it again.
  func expect(_ lanes: Set<JobEngine.Lane>) {
    let isWorked = board.withLock { board in
      board.expect(lanes)
      return !board.sessions.isEmpty
    }
    if isWorked { handOut.set() }
  }

  private func runHandingOut() async {
    while await handOut.wait() {
      while !Task.isCancelled, let (demands, lanes) = board.withLock({ $0.work(at: .now) }) {
        let look = board.withLock { $0.looking(at: lanes) }
        do {
          let claims = try await engine.claim(demands, lanes: lanes)
          tallies.claimed(claims.jobs.count)
          let undeliverable = board.withLock { $0.deliver(claims, since: look, at: .now) }
          if !undeliverable.isEmpty { add(undeliverable, from: "") }
          if let pause = claims.pause {
            let time = ContinuousClock.now + pause
            retryTime.withLock { $0 = min($0 ?? time, time) }
            limitsClock.set()
          }
        } catch {
          board.withLock { $0.restore(lanes) }
          await failed("hand out jobs", error)
        }
      }
    }
  }

  /// Looks again where limits stood in the way: when a rate lets jobs begin, and now and then in
  /// any case.
  private func runLimits() async {
    while !Task.isCancelled {
      let left = retryTime.withLock { $0 }.map { $0 - .now }
      let isDue = await sleep(
        min(
          max(.milliseconds(1), left ?? Self.limitsInterval),
          Self.limitsInterval), or: limitsClock)
      guard isDue else { continue }
      retryTime.withLock { $0 = nil }
      board.withLock { $0.unblock() }
      handOut.set()
    }
  }

  /// - Returns: whether the time is over; false when the wakeup was set before.
  private func sleep(_ duration: Duration, or wakeup: Wakeup) async -> Bool {
    let isOver = Atomic(false)
    let timer = Task {
      try await Task.sleep(for: duration)
      isOver.store(true, ordering: .releasing)
      wakeup.set()
    }
    _ = await wakeup.wait()
    timer.cancel()
    return isOver.load(ordering: .acquiring)
  }

  private func failed(_ what: String, _ error: any Error) async {
    guard !(error is CancellationError), !Task.isCancelled else { return }
    logger.log(.warning, "The server could not \(what); it tries again.", ["error": "\(error)"])
    try? await Task.sleep(for: Self.pause)
  }

  // MARK: Results

  func add(_ new: [JobEngine.Result], from session: String) {
    guard !new.isEmpty else { return }
    board.withLock { $0.add(new, from: session) }
    results.set()
  }

  /// How long a transaction of results is from the one before, so that what ends meanwhile shares
  /// it: the fleet's changes are made one after the other, and jobs that begin come first.
  private static let resultInterval: Duration = .milliseconds(10)

  /// Waits for more results, unless many are there already or somebody waits for a place.
  private func gatherResults(since last: ContinuousClock.Instant) async {
    let left = last + Self.resultInterval - .now
    guard left > .zero, board.withLock({ $0.canResultsWait }) else { return }
    try? await Task.sleep(for: left, tolerance: .milliseconds(1))
  }

  private func runResults() async {
    var last = ContinuousClock.now - Self.resultInterval
    while await results.wait() {
      while !Task.isCancelled {
        await gatherResults(since: last)
        let taken = board.withLock { $0.takeResults(limits.resultsPerRound) }
        guard !taken.isEmpty else { break }
        last = .now
        do {
          // What was said ahead of a result belongs to its attempt.
          try await engine.keep(board.withLock { $0.takeProgress() })
          let results = taken.map(\.result)
          let receipts = try await engine.finish(results)
          tallies.took(results, receipts)
          board.withLock { $0.deliver(receipts, for: taken) }
        } catch {
          board.withLock { $0.restore(taken) }
          await failed("take results of jobs", error)
        }
      }
    }
  }

  /// Takes what handlers say, of the jobs that the worker has.
  func add(_ progress: [(id: JobID, progress: API.JobProgress)], from session: String) {
    let told = board.withLock { board in
      progress.filter { board.add($0.progress, of: $0.id, from: session) }
    }
    watches.publish(
      told.map { id, progress in
        var job = API.Job()
        job.id = id.text
        job.state = .running
        job.attempt = progress.lease?.attempt ?? 0
        job.progress = max(0, progress.progress)
        job.progressMessage = progress.message
        return job
      })
  }

  // MARK: Time

  /// How often it is looked at which server leads.
  private static let leaderInterval: Duration = .seconds(3)

  /// Looks whether this server leads. One that begins to gives every worker the length of a lease to
  /// be heard of: nobody may have listened for a while.
  private func lead(_ seen: inout ContinuousClock.Instant?) async throws {
    if let seen, .now - seen < Self.leaderInterval { return }
    var leads = try await engine.leads()
    if !leads, try await engine.endSilentLeader() {
      logger.log(
        .warning,
        "The server that moved what is due has said nothing for \(JobEngine.leaderSilence): its "
          + "connection was ended, so that another takes over.")
      leads = try await engine.leads()
    }
    if leads, !isLeader.load(ordering: .acquiring) { try await engine.prolongAll() }
    isLeader.store(leads, ordering: .releasing)
    seen = .now
  }

  /// Whether this server moves the jobs whose time has come.
  var leads: Bool { isLeader.load(ordering: .acquiring) }

  /// How long ago it was that this server found out who leads, and moved what was due where it
  /// does; 0 before it has begun.
  var timeSinceClockRound: Duration { clockRound.withLock { $0 }.map { .now - $0 } ?? .zero }

  private func runClock() async {
    var seen: ContinuousClock.Instant?
    clockRound.withLock { $0 = .now }
    while !Task.isCancelled {
      var pause = Self.longestSleep
      await trying("keep what handlers say") {
        try await engine.keep(board.withLock { $0.takeProgress() })
      }
      do {
        try await lead(&seen)
      } catch {
        isLeader.store(false, ordering: .releasing)
        seen = nil
        await failed("find out which server moves jobs", error)
        continue
      }
      if isLeader.load(ordering: .acquiring) {
        var isMore = await trying("run schedules") { try await engine.runSchedules(zones) } ?? false
        let tick = await trying("move the jobs whose time has come") { try await engine.tick() }
        // After an outage nobody has been heard of for a while.
        if let tick {
          tallies.moved(tick)
          clockRound.withLock { $0 = .now }
        } else {
          seen = nil
          isLeader.store(false, ordering: .releasing)
        }
        isMore = isMore || tick?.isCut == true
        if isMore { continue }
        if let next = tick?.next { pause = min(pause, max(.milliseconds(1), next)) }
      } else {
        clockRound.withLock { $0 = .now }
      }
      _ = await sleep(pause, or: clock)
    }
  }

  /// Does something that is tried again later when it fails.
  @discardableResult
  private func trying<Result>(
    _ what: String, _ body: () async throws -> Result
  ) async -> Result? {
    do {
      return try await body()
    } catch {
      await failed(what, error)
      return nil
    }
  }

  // MARK: Pruning

  private static let pruningInterval: Duration = .seconds(60)

  /// Removes what has been kept long enough, a bounded step after the other, so that nobody waits.
  private func runPruning() async {
    while !Task.isCancelled {
      if isLeader.load(ordering: .acquiring) {
        var removed = 0
        while !Task.isCancelled,
          let step = await trying("remove jobs that had ended", { try await engine.prune() }),
          step > 0
        {
          removed += step
        }
        if removed > 0 {
          logger.log(.info, "Removed jobs that had ended.", ["jobs": "\(removed)"])
        }
      }
      try? await Task.sleep(for: Self.pruningInterval)
    }
  }

  // MARK: News

  /// Takes in what happened to jobs anywhere, on the database's writer thread.
  func observe(_ events: [CommittedEvent]) {
    var isScheduled = false
    let now = ContinuousClock.now
    for event in events {
      do {
        guard let (kind, jobs) = try event.jobs() else { continue }
        watches.publish(jobs)
        tallies.heard(kind, jobs)
        board.withLock { board in
          if kind == .queueUpdated { board.unblock() }
          if kind == .scheduleUpdated { isScheduled = true }
          for job in jobs {
            board.note(
              job, cancelled: job.cancelRequested ? cancellation(of: job, at: event.time) : nil,
              at: now)
            if job.state == .scheduled { isScheduled = true }
          }
        }
      } catch {
        logger.log(
          .error, "A committed event does not decode.",
          ["revision": "\(event.revision)", "type": event.type, "error": "\(error)"])
      }
    }
    // A worker that connects looks by itself.
    if board.withLock({ !$0.sessions.isEmpty }) { handOut.set() }
    if isScheduled { clock.set() }
  }

  private func cancellation(of job: API.Job, at time: UnixTime) -> API.Cancellation {
    var cancellation = API.Cancellation()
    if let id = JobID(job.id) { cancellation.lease = .init(id, Int(job.attempt)) }
    if let end = job.leaseExpireTime.flatMap({ try? $0.unixTime }) {
      cancellation.grace = .init(max(.zero, time.duration(to: end)))
    }
    cancellation.reason = job.stateMessage
    return cancellation
  }

  // MARK: Workers

  func connect(_ session: WorkerSession) throws {
    try board.withLock { board in
      guard !board.isStopping else {
        throw RPCError(.unavailable, "The server stops; dial again.")
      }
      guard board.sessions.count < limits.workers else {
        throw RPCError(
          .resourceExhausted, "\(limits.workers) workers are connected, the most that may be.")
      }
      board.connect(session)
    }
  }

  func disconnect(_ id: String) {
    add(board.withLock { $0.disconnect(id) }, from: "")
  }

  /// Changes what is known of a worker.
  func update(_ id: String, _ body: (inout WorkerSession) -> Void) {
    board.withLock { $0.update(id, body) }
    handOut.set()
  }

  func session(_ id: String) -> WorkerSession? {
    board.withLock { $0.sessions[id] }
  }

  var workers: [WorkerSession] { board.withLock { Array($0.sessions.values) } }

  func hasWorker(for lane: JobEngine.Lane) -> Bool {
    board.withLock { $0.hasWorker(for: lane) }
  }

  /// Prolongs a worker's leases, and tells it which are lost.
  ///
  /// - Parameter isNew: whether the leases are from a stream before.
  func heartbeat(
    _ leases: [(id: JobID, attempt: Int)], of session: String, isNew: Bool = false
  ) async throws {
    let held = try await engine.prolong(leases)
    board.withLock { $0.settle(leases, held: held, of: session, isNew: isNew, at: .now) }
  }

  /// A worker says no more: once it has heard what became of its results its stream ends.
  func drain(_ id: String) {
    add(board.withLock { $0.drain(id) }, from: "")
  }

  /// What is to be sent to a worker next; waits until there is something. nil once its stream is
  /// to end.
  func next(for id: String) async -> API.WorkResponse? {
    guard let wakeup = session(id)?.wakeup else { return nil }
    while true {
      let (outbox, isOver) = board.withLock { board in
        var outbox: API.WorkResponse?
        board.update(id) { outbox = $0.takeOutbox() }
        return (outbox, board.sessions[id]?.isOver ?? true)
      }
      if let outbox {
        // What it was given is on its way: it may get more.
        if !outbox.jobs.isEmpty { handOut.set() }
        return outbox
      }
      guard !isOver, await wakeup.wait() else { return nil }
    }
  }
}
