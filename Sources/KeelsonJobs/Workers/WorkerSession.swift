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
  var lastHeardTime: UnixTime
  /// How many more jobs it would take.
  var credit = 0
  /// The attempts it has, by job.
  var running: [JobID: Int] = [:]
  var isDraining = false
  /// Results whose outcome it has not been told.
  var openResults = 0
  /// What is to be sent to it; nil when there is nothing.
  var outbox: API.WorkResponse?
  let wakeup = Wakeup()

  /// Adds to what is to be sent.
  mutating func send(_ body: (inout API.WorkResponse) -> Void) {
    var response = outbox ?? API.WorkResponse()
    body(&response)
    outbox = response
    wakeup.set()
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
