import KeelsonAPI
import KeelsonCore
import KeelsonJobRules

/// Who works, what waits, and who is to be told what: the state of one server's workers, without
/// I/O. The database decides; this only says where to look and whom to tell.
struct WorkerBoard: Sendable {
  typealias Lane = JobEngine.Lane

  private(set) var sessions: [String: WorkerSession] = [:]
  /// Lanes that may have pending jobs.
  private(set) var ready: Set<Lane> = []
  /// Lanes that have some, whose queue is paused or at a limit.
  private(set) var blocked: Set<Lane> = []
  /// Results that wait for the database, with the sessions that brought them.
  private(set) var results: [(session: String, result: JobEngine.Result)] = []
  /// What handlers have said since it was kept last.
  private var progress: [JobID: KeelsonJobsV1.JobProgress] = [:]
  private var sessionOfJob: [JobID: String] = [:]
  private(set) var isStopping = false
  /// Counts what may have made room somewhere, so that a look which was under way meanwhile is known
  /// to be out of date.
  private var freed = 0
  /// Where that stood when it was a queue's turn, since the look began, and when all queues'.
  private var freedQueues: [String: Int] = [:]
  private var freedAll = 0
  /// Calls to break off that came before their job was delivered, while a look is under way.
  private var early: [JobID: (attempt: Int, cancellation: KeelsonJobsV1.Cancellation)]?

  private let limits: JobLimits

  init(limits: JobLimits) {
    self.limits = limits
  }

  // MARK: Workers

  mutating func connect(_ session: WorkerSession) {
    sessions[session.id] = session
  }

  /// What it holds stays its own until the leases end: it may come back.
  ///
  /// - Returns: what it was never told of, to be handed back.
  mutating func disconnect(_ id: String) -> [JobEngine.Result] {
    guard let session = sessions.removeValue(forKey: id) else { return [] }
    for job in session.running.keys where sessionOfJob[job] == id { sessionOfJob[job] = nil }
    return Self.handedBack(session.outbox?.jobs ?? [])
  }

  /// It says no more.
  ///
  /// - Returns: what it was never told of, to be handed back.
  mutating func drain(_ id: String) -> [JobEngine.Result] {
    var unsent: [KeelsonJobsV1.LeasedJob] = []
    update(id) { session in
      session.isDraining = true
      session.hasSaidAll = true
      session.credit = 0
      unsent = session.takeUnsent()
      session.wakeup.set()
    }
    return Self.handedBack(unsent)
  }

  private static func handedBack(_ jobs: [KeelsonJobsV1.LeasedJob]) -> [JobEngine.Result] {
    jobs.compactMap { job in
      job.lease.flatMap { lease in
        JobID(lease.jobId).map {
          JobEngine.Result(id: $0, attempt: Int(lease.attempt), outcome: .handedBack)
        }
      }
    }
  }

  mutating func update(_ id: String, _ body: (inout WorkerSession) -> Void) {
    guard var session = sessions[id] else { return }
    body(&session)
    sessions[id] = session
  }

  /// It holds leases from a stream before.
  mutating func adopt(_ leases: [(id: JobID, attempt: Int)], by session: String) {
    update(session) { session in
      for lease in leases { session.running[lease.id] = lease.attempt }
    }
    for lease in leases { sessionOfJob[lease.id] = session }
  }

  /// Ends the handing out, and tells all workers to go elsewhere.
  mutating func stop() {
    isStopping = true
    for id in sessions.keys { update(id) { $0.send { $0.draining = true } } }
  }

  // MARK: Handing out

  /// What workers would take and where there may be something for them; nil when nothing is to be
  /// done.
  func work(at now: ContinuousClock.Instant) -> (demands: [JobEngine.Demand], lanes: [Lane])? {
    guard !isStopping, !ready.isEmpty else { return nil }
    let demands = sessions.values.compactMap { session -> JobEngine.Demand? in
      let room = session.room(at: now, limits: limits)
      guard room > 0 else { return nil }
      return JobEngine.Demand(
        session: session.id, worker: session.name, queues: session.queues, kinds: session.kinds,
        credit: room)
    }
    guard !demands.isEmpty else { return nil }
    let lanes = ready.filter { lane in demands.contains { $0.takes(lane) } }
    return lanes.isEmpty ? nil : (demands, Array(lanes))
  }

  /// Takes lanes out of those that may have jobs, ahead of looking: what comes meanwhile puts them
  /// back.
  ///
  /// - Returns: what ``deliver(_:since:at:)`` wants to know.
  mutating func looking(at lanes: [Lane]) -> Int {
    ready.subtract(lanes)
    early = [:]
    freedQueues = [:]
    return freed
  }

  /// There may be jobs soon.
  mutating func expect(_ lanes: some Sequence<Lane>) {
    ready.formUnion(lanes)
  }

  /// Looking has failed: there may be jobs still.
  mutating func restore(_ lanes: [Lane]) {
    ready.formUnion(lanes)
    early = nil
  }

  /// Hands claimed jobs to their workers.
  ///
  /// - Parameter look: what ``looking(at:)`` gave.
  /// - Returns: those whose workers are gone, to be handed back.
  mutating func deliver(
    _ claims: JobEngine.Claims, since look: Int, at now: ContinuousClock.Instant
  ) -> [JobEngine.Result] {
    ready.formUnion(claims.more)
    // News is told before whoever looked is answered: room may have been made in between.
    for lane in claims.blocked {
      if max(freedAll, freedQueues[lane.queue] ?? 0) > look {
        ready.insert(lane)
      } else {
        blocked.insert(lane)
      }
    }
    let early = early ?? [:]
    self.early = nil
    var undeliverable: [JobEngine.Result] = []
    for (id, jobs) in Dictionary(grouping: claims.jobs, by: \.session) {
      guard let session = sessions[id], !session.hasSaidAll else {
        undeliverable += jobs.map {
          JobEngine.Result(id: $0.id, attempt: $0.lifecycle.attempt, outcome: .handedBack)
        }
        continue
      }
      update(id) { session in
        session.credit = max(0, session.credit - jobs.count)
        session.silentSince = session.silentSince ?? now
        for job in jobs { session.running[job.id] = job.lifecycle.attempt }
        session.send { response in
          response.jobs += jobs.map(\.leased)
          response.cancellations += jobs.compactMap { job in
            early[job.id].flatMap { $0.attempt == job.lifecycle.attempt ? $0.cancellation : nil }
          }
        }
      }
      for job in jobs { sessionOfJob[job.id] = id }
    }
    return undeliverable
  }

  /// Lanes whose limits may let jobs begin again: of one queue, or of all.
  mutating func unblock(_ queue: String? = nil) {
    freed += 1
    if let queue { freedQueues[queue] = freed } else { freedAll = freed }
    let lanes = queue.map { queue in blocked.filter { $0.queue == queue } } ?? blocked
    guard !lanes.isEmpty else { return }
    blocked.subtract(lanes)
    ready.formUnion(lanes)
  }

  // MARK: Results

  mutating func add(_ results: [JobEngine.Result], from session: String) {
    self.results += results.map { (session, $0) }
    update(session) { session in
      session.openResults += results.count
      for result in results where session.running[result.id] == result.attempt {
        session.running[result.id] = nil
        session.toldCancelled.remove(result.id)
      }
    }
    for result in results where sessionOfJob[result.id] == session {
      sessionOfJob[result.id] = nil
    }
  }

  /// Results that are not kept waiting for more.
  private static let manyResults = 200

  /// Whether nobody is served by taking the results at once.
  var canResultsWait: Bool {
    !results.isEmpty && blocked.isEmpty && results.count < Self.manyResults
      && !sessions.values.contains { $0.isDraining && $0.openResults > 0 }
  }

  /// Bytes of the results that one transaction takes, roughly.
  private static let resultBytes = 8 << 20

  /// Takes up to so many results; the caller puts them to the database.
  mutating func takeResults(_ limit: Int) -> [(session: String, result: JobEngine.Result)] {
    var bytes = 0
    let count = results.prefix(limit).prefix { _, result in
      bytes += result.roughBytes
      return bytes <= Self.resultBytes
    }.count
    let taken = Array(results.prefix(max(1, count)))
    results.removeFirst(taken.count)
    return taken
  }

  mutating func restore(_ results: [(session: String, result: JobEngine.Result)]) {
    self.results.insert(contentsOf: results, at: 0)
  }

  /// Tells workers what became of their results.
  mutating func deliver(
    _ receipts: [JobState?], for results: [(session: String, result: JobEngine.Result)]
  ) {
    let pairs = zip(results, receipts).map { ($0.session, $0.result, $1) }
    for (id, pairs) in Dictionary(grouping: pairs, by: \.0) {
      update(id) { session in
        session.openResults -= pairs.count
        session.send { response in
          response.receipts += pairs.map { _, result, state in
            var receipt = KeelsonJobsV1.ResultReceipt()
            receipt.lease = .init(result.id, result.attempt)
            receipt.state = state.map { .init($0) } ?? .unspecified
            return receipt
          }
        }
      }
    }
  }

  // MARK: Progress

  /// - Returns: whether the worker has the attempt.
  mutating func add(_ new: KeelsonJobsV1.JobProgress, of id: JobID, from session: String) -> Bool {
    guard let attempt = sessions[session]?.running[id],
      Int32(clamping: attempt) == new.lease?.attempt
    else { return false }
    progress[id] = new.following(progress[id])
    return true
  }

  mutating func takeProgress() -> [JobID: KeelsonJobsV1.JobProgress] {
    defer { progress = [:] }
    return progress
  }

  // MARK: News

  /// A job that any server has moved.
  mutating func note(
    _ news: KeelsonJobsV1.Job, cancelled: KeelsonJobsV1.Cancellation?,
    at now: ContinuousClock.Instant
  ) {
    let lane = Lane(queue: news.queue, kind: news.kind)
    if news.state == .pending { ready.insert(lane) }
    if news.state != .running, news.attempt > 0 { unblock(news.queue) }
    if let id = JobID(news.id), let cancelled, sessionOfJob[id] == nil {
      early?[id] = (Int(news.attempt), cancelled)
    }
    guard let id = JobID(news.id), let holder = sessionOfJob[id],
      let attempt = sessions[holder]?.running[id], attempt <= Int(news.attempt)
    else { return }
    if news.state == .running, attempt == Int(news.attempt) {
      guard let cancelled else { return }
      tell(cancelled, of: id, to: holder)
    } else {
      lose([(id, attempt)], of: holder, at: now)
    }
  }

  /// What a worker's heartbeat came to: what it holds, and what it has lost.
  ///
  /// - Parameter isNew: whether the leases are from a stream before.
  mutating func settle(
    _ leases: [(id: JobID, attempt: Int)], held: [JobEngine.Held], of session: String,
    isNew: Bool, at now: ContinuousClock.Instant
  ) {
    let attempts = Dictionary(held.map { ($0.id, $0.attempt) }) { $1 }
    if isNew { adopt(held.map { ($0.id, $0.attempt) }, by: session) }
    for lease in held {
      // It was called off while nobody could be told.
      guard let grace = lease.grace, sessions[session]?.toldCancelled.contains(lease.id) == false
      else { continue }
      var cancellation = KeelsonJobsV1.Cancellation()
      cancellation.lease = .init(lease.id, lease.attempt)
      cancellation.grace = .init(grace)
      tell(cancellation, of: lease.id, to: session)
    }
    lose(leases.filter { attempts[$0.id] != $0.attempt }, of: session, at: now)
  }

  private mutating func tell(
    _ cancellation: KeelsonJobsV1.Cancellation, of job: JobID, to session: String
  ) {
    update(session) { session in
      session.toldCancelled.insert(job)
      session.send { $0.cancellations.append(cancellation) }
    }
  }

  private static let mostLostTold = 10_000

  /// Leases that a worker holds no longer.
  mutating func lose(
    _ leases: [(id: JobID, attempt: Int)], of session: String, at now: ContinuousClock.Instant
  ) {
    guard !leases.isEmpty else { return }
    let patience = limits.patience
    var gone: Set<JobID> = []
    update(session) { session in
      // It may have a newer attempt of the same job.
      for lease in leases where session.running[lease.id] ?? lease.attempt == lease.attempt {
        session.running[lease.id] = nil
        session.toldCancelled.remove(lease.id)
        gone.insert(lease.id)
      }
      // Without jobs it need not say anything; one that was silent until then has to.
      if session.running.isEmpty, !session.isSilent(at: now, for: patience) {
        session.silentSince = nil
      }
      // Beyond that it hears of them with its next heartbeat.
      let room = max(0, Self.mostLostTold - (session.outbox?.lost.count ?? 0))
      session.send { $0.lost += leases.prefix(room).map { .init($0.id, $0.attempt) } }
    }
    for job in gone where sessionOfJob[job] == session { sessionOfJob[job] = nil }
  }

  /// Kinds of a queue that no worker here runs.
  func hasWorker(for lane: Lane) -> Bool {
    sessions.values.contains {
      !$0.isDraining && $0.queues.contains(lane.queue) && $0.kinds.contains(lane.kind)
    }
  }
}

extension KeelsonJobsV1.LeaseID {
  init(_ id: JobID, _ attempt: Int) {
    self.init()
    jobId = id.text
    self.attempt = Int32(clamping: attempt)
  }
}

extension StoredJob {
  /// What a worker gets of it.
  var leased: API.LeasedJob {
    var leased = API.LeasedJob()
    leased.lease = .init(id, lifecycle.attempt)
    leased.queue = queue
    leased.kind = kind
    leased.parameters = created.parameters
    leased.timeout = created.timeout
    leased.attemptsLeft = Int32(clamping: lifecycle.allowedAttempts - lifecycle.attempt)
    leased.tags = created.tags
    leased.correlationId = created.correlationId
    leased.traceparent = created.traceparent
    leased.createTime = .init(createTime)
    return leased
  }
}
