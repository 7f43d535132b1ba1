import KeelsonAPI
import KeelsonCore

/// A worker's stream, as the server knows it.
struct WorkerSession: Sendable {
  typealias API = KeelsonJobsV1

  let id: String
  let name: String
  let queues: Set<String>
  let kinds: Set<String>
  let peer: String
  let connectTime: UnixTime
  private(set) var lastHeardTime: UnixTime
  /// Since when it has jobs and has not said a word; nil while it has none, or was heard of since.
  var silentSince: ContinuousClock.Instant?
  /// How many more jobs it would take.
  var credit = 0
  /// The attempts it has, by job.
  var running: [JobID: Int] = [:]
  /// Jobs of which it was told to break off.
  var toldCancelled: Set<JobID> = []
  var isDraining = false
  /// Whether it has ended its side of the stream.
  var hasSaidAll = false
  /// Results whose outcome it has not been told.
  var openResults = 0
  /// What is to be sent to it; nil when there is nothing.
  var outbox: API.WorkResponse?
  let wakeup = Wakeup()

  /// Whether nothing is left to tell a worker that says no more.
  var isOver: Bool { hasSaidAll && openResults == 0 && outbox == nil }

  /// It has said something.
  mutating func hear(at time: UnixTime) {
    lastHeardTime = time
    silentSince = nil
  }

  /// Whether it has jobs and says nothing, as one that hangs: it gets no more until it is heard of,
  /// since it would have each job that it lets go again, before those who live.
  func isSilent(at now: ContinuousClock.Instant, for patience: Duration) -> Bool {
    silentSince.map { $0 + patience <= now } ?? false
  }

  /// How many jobs it may be given now: none while it has not been sent what it was given before,
  /// so that one which does not read holds little here.
  func room(at now: ContinuousClock.Instant, limits: JobLimits) -> Int {
    guard !isDraining, !isSilent(at: now, for: limits.patience), outbox?.jobs.isEmpty ?? true
    else { return 0 }
    return min(credit, limits.credit - running.count)
  }

  /// Adds to what is to be sent.
  mutating func send(_ body: (inout API.WorkResponse) -> Void) {
    var response = outbox ?? API.WorkResponse()
    body(&response)
    outbox = response
    wakeup.set()
  }

  /// Bytes of a message, roughly: below what any gRPC library takes without being told to.
  private static let messageBytes = 1 << 20

  /// Takes back the jobs that were not sent.
  mutating func takeUnsent() -> [API.LeasedJob] {
    guard var response = outbox else { return [] }
    let unsent = response.jobs
    response.jobs = []
    outbox = response == API.WorkResponse() ? nil : response
    return unsent
  }

  /// Takes what is to be sent next, as much as one message should hold.
  mutating func takeOutbox() -> API.WorkResponse? {
    guard var response = outbox else { return nil }
    var bytes = 0
    let count = response.jobs.prefix { job in
      bytes += job.roughBytes
      return bytes <= Self.messageBytes
    }.count
    var rest = API.WorkResponse()
    rest.jobs = Array(response.jobs.dropFirst(max(1, count)))
    response.jobs = Array(response.jobs.prefix(max(1, count)))
    outbox = rest.jobs.isEmpty ? nil : rest
    return response
  }

  var message: API.Worker {
    var worker = API.Worker()
    worker.name = name
    worker.session = id
    worker.queues = queues.sorted()
    worker.kinds = kinds.sorted()
    worker.running = Int32(clamping: running.count)
    worker.credit = Int32(clamping: credit)
    worker.connectTime = .init(connectTime)
    worker.lastHeardTime = .init(lastHeardTime)
    worker.peer = peer
    worker.draining = isDraining
    return worker
  }
}

extension KeelsonJobsV1.LeasedJob {
  fileprivate var roughBytes: Int {
    let payload =
      switch parameters?.kind {
      case .json(let text): text.utf8.count
      case .data(let bytes): bytes.count
      case nil: 0
      }
    return 256 + payload + kind.utf8.count + queue.utf8.count
      + tags.reduce(0) { $0 + $1.utf8.count + 2 }
  }
}
