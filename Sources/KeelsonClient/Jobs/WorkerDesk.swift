import KeelsonAPI
import KeelsonCore

/// What a worker has, what it has finished and what it has to say: its state without I/O.
///
/// A result stays here until the server has said what became of it, whatever happens to the stream
/// meanwhile.
struct WorkerDesk {
  typealias API = KeelsonJobsV1

  /// What follows from a message of the server's.
  struct Effects {
    var start: [API.LeasedJob] = []
    var cancel: [Task<Void, Never>] = []
    /// Whether the server has welcomed the worker.
    var isWelcome = false
    /// Whether the stream is to end, and another to be begun.
    var isOver = false
  }

  private struct Running {
    var task: Task<Void, Never>
    var isCancelled = false
    var isHandedBack = false
  }

  let concurrency: Int
  private(set) var isStopping = false
  /// Whether the stream has been welcomed.
  private(set) var hasConnected = false
  /// Which stream is the current one.
  private(set) var stream = 0
  private(set) var heartbeatInterval: Duration = .seconds(10)
  private var running: [API.LeaseID: Running] = [:]
  /// Finished, and the server has not said that it knows.
  private var open: [API.LeaseID: API.AttemptResult] = [:]
  private var outgoing: API.WorkRequest?
  /// Results that this stream has not been told yet.
  private var untold: [API.LeaseID] = []
  /// Jobs whose end the server will not hear of.
  private(set) var givenUp = 0
  /// Bytes of results in one message, and of what handlers say meanwhile, roughly: a server takes
  /// 4 MiB.
  private static let messageBytes = 1 << 20
  /// The largest result that any server takes (`job-result-size`).
  private static let resultBytes = 1 << 20
  /// Bytes of an error that are kept.
  private static let errorBytes = 8 << 10
  /// Jobs that the server may still send.
  private var credit = 0

  init(concurrency: Int) {
    self.concurrency = concurrency
  }

  var isDone: Bool { isStopping && running.isEmpty && open.isEmpty }

  // MARK: Streams

  /// The first message of a stream: who it is, what it holds, what it has finished meanwhile.
  mutating func hello(name: String, queues: [String], kinds: [String]) -> API.WorkRequest {
    var hello = API.WorkerHello()
    hello.name = name
    hello.queues = queues
    hello.kinds = kinds
    hello.held = Array(running.keys) + Array(open.keys)
    var request = API.WorkRequest()
    request.hello = hello
    untold = Array(open.keys)
    request.results = takeUntold()
    hasConnected = false
    stream += 1
    outgoing = nil
    credit = isStopping ? 0 : max(0, concurrency - running.count)
    request.credit = Int32(credit)
    request.draining = isStopping
    return request
  }

  /// What is to be said next, if anything.
  ///
  /// - Parameter stream: on which; one that is over gets nothing, since it would be lost with it.
  mutating func takeOutgoing(of stream: Int? = nil) -> API.WorkRequest? {
    guard stream == nil || stream == self.stream else { return nil }
    guard outgoing != nil || !untold.isEmpty else { return nil }
    var request = outgoing ?? API.WorkRequest()
    outgoing = nil
    request.results = takeUntold()
    var bytes = 0
    let fit = request.progress.prefix { progress in
      defer { bytes += progress.encoded().count }
      return bytes < Self.messageBytes
    }
    let rest = request.progress[fit.endIndex...]
    if !rest.isEmpty { say { $0.progress = Array(rest) } }
    request.progress = Array(fit)
    return request
  }

  private mutating func takeUntold() -> [API.AttemptResult] {
    var bytes = 0
    var taken = 0
    var results: [API.AttemptResult] = []
    for lease in untold {
      guard let result = open[lease] else {
        taken += 1
        continue
      }
      bytes += result.encoded().count
      guard bytes <= Self.messageBytes || results.isEmpty else { break }
      results.append(result)
      taken += 1
    }
    untold.removeFirst(taken)
    return results
  }

  private mutating func say(_ body: (inout API.WorkRequest) -> Void) {
    var request = outgoing ?? API.WorkRequest()
    body(&request)
    outgoing = request
  }

  mutating func beat() {
    let leases = Array(running.keys)
    guard !leases.isEmpty else { return }
    say { $0.heartbeats = leases }
  }

  mutating func take(_ response: API.WorkResponse) -> Effects {
    var effects = Effects()
    if let welcome = response.welcome {
      hasConnected = true
      effects.isWelcome = true
      heartbeatInterval = max(
        .milliseconds(10), welcome.heartbeatInterval?.clampedDuration ?? .seconds(10))
    }
    for job in response.jobs {
      credit = max(0, credit - 1)
      guard let lease = job.lease, running[lease] == nil, open[lease] == nil else { continue }
      effects.start.append(job)
    }
    for receipt in response.receipts {
      if let lease = receipt.lease { open[lease] = nil }
    }
    for cancellation in response.cancellations {
      guard let lease = cancellation.lease, var job = running[lease] else { continue }
      job.isCancelled = true
      running[lease] = job
      effects.cancel.append(job.task)
    }
    for lease in response.lost {
      open[lease] = nil
      // Its result would be refused.
      if let job = running.removeValue(forKey: lease) {
        effects.cancel.append(job.task)
        extendCredit()
      }
    }
    effects.isOver = response.draining
    return effects
  }

  // MARK: Jobs

  mutating func begin(_ job: API.LeasedJob, _ task: Task<Void, Never>) {
    guard let lease = job.lease else { return }
    running[lease] = Running(task: task)
  }

  mutating func add(_ progress: API.JobProgress) {
    guard let lease = progress.lease, running[lease] != nil else { return }
    say { request in
      guard let index = request.progress.firstIndex(where: { $0.lease == lease }) else {
        return request.progress.append(progress)
      }
      if progress.progress >= 0 {
        request.progress[index].progress = progress.progress
        request.progress[index].message = progress.message
      }
      request.progress[index].logs = Array(
        (request.progress[index].logs + progress.logs).suffix(100))
    }
  }

  /// A handler has ended.
  mutating func end(_ job: API.LeasedJob, _ result: Result<API.Payload?, any Error>) {
    // One that is not here has lost its lease.
    guard let lease = job.lease, let run = running.removeValue(forKey: lease) else { return }
    var told = API.AttemptResult()
    told.lease = lease
    switch result {
    case .success(let payload?) where payload.byteCount > Self.resultBytes:
      var failure = API.AttemptFailure()
      failure.message =
        "The result has \(payload.byteCount) bytes; no server takes more than "
        + "\(Self.resultBytes). Keep it elsewhere, and return where."
      failure.permanent = true
      told.outcome = .failed(failure)
    case .success(let payload): told.outcome = .succeeded(payload ?? .init())
    case .failure(is CancellationError) where run.isCancelled: told.outcome = .cancelled(true)
    case .failure where run.isHandedBack: told.outcome = .handedBack(true)
    case .failure(let error):
      var failure = API.AttemptFailure()
      failure.message = "\(error)".cut(toBytes: Self.errorBytes)
      if let error = error as? JobFailure {
        failure.permanent = error.isPermanent
        failure.retryAfter = error.retryAfter.map { .init($0) }
      }
      told.outcome = run.isCancelled ? .cancelled(true) : .failed(failure)
    }
    open[lease] = told
    untold.append(lease)
    extendCredit()
  }

  /// Asks for as many jobs as there is room for.
  private mutating func extendCredit() {
    let room = concurrency - running.count - credit
    guard !isStopping, room > 0 else { return }
    credit += room
    say { $0.credit += Int32(room) }
  }

  // MARK: The end

  mutating func stop() {
    guard !isStopping else { return }
    isStopping = true
    credit = 0
    say { $0.draining = true }
  }

  /// Time is over: what still runs is cancelled, and its jobs handed back.
  mutating func handBack() -> [Task<Void, Never>] {
    for lease in running.keys { running[lease]?.isHandedBack = true }
    return running.values.map(\.task)
  }

  /// Nothing more can be told the server.
  mutating func giveUp() -> [Task<Void, Never>] {
    defer {
      running = [:]
      open = [:]
    }
    isStopping = true
    givenUp = running.count + open.count
    return running.values.map(\.task)
  }
}

extension KeelsonJobsV1.Payload {
  fileprivate var byteCount: Int {
    switch kind {
    case .json(let text): text.utf8.count
    case .data(let bytes): bytes.count
    case nil: 0
    }
  }
}

extension String {
  /// Its beginning, of so many bytes at most.
  func cut(toBytes limit: Int) -> String {
    guard utf8.count > limit else { return self }
    var bytes = limit
    return String(
      prefix { character in
        bytes -= character.utf8.count
        return bytes >= 0
      })
  }
}
