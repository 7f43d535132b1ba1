import FoundationEssentials
public import KeelsonAPI
import KeelsonCore
import KeelsonTransport
import Synchronization

/// Runs jobs in this process.
///
/// ```swift
/// let worker = JobWorker(keelson, queues: ["mail"])
/// worker.handle("send-mail", parameters: Mail.self) { mail, job in
///   try await send(mail)
///   job.report(0.5, "sent")
/// }
/// try await worker.run()
/// ```
///
/// It keeps one stream to a server, sends heartbeats for what it runs, and dials again when the
/// stream breaks, with what it has and what it has finished meanwhile: nothing is lost, and nothing
/// is done twice that the server has heard of. A handler whose job was called off or whose lease is
/// lost has its task cancelled.
///
/// ``run()`` ends when its task is cancelled, or by ``stop()``: it takes no more jobs, lets those
/// that run end within ``drainTimeout``, and hands the others back.
public final class JobWorker: Sendable {
  /// What the handlers of a kind of job do with it.
  typealias Handler = @Sendable (LeasedJob, JobRun) async throws -> Payload?
  typealias LeasedJob = KeelsonJobsV1.LeasedJob
  public typealias Payload = KeelsonJobsV1.Payload

  /// The name the server knows it by.
  public let name: String
  /// Queues that it takes jobs from.
  public let queues: [String]
  /// Jobs that it runs at the same time at most.
  public let concurrency: Int
  /// How long jobs may go on once it stops, before they are cancelled and handed back.
  public let drainTimeout: Duration

  private let service: KeelsonJobsV1.JobsServiceClient
  private let handlers = Mutex<[String: Handler]>([:])
  private let desk: Mutex<WorkerDesk>
  private let outgoing = Wakeup()
  private let backoff = ConnectionBackoff(initial: .milliseconds(100), maximum: .seconds(10))

  /// - Parameters:
  ///   - name: 1 to 128 bytes of letters, digits, `.`, `_`, `-` and `/`.
  ///   - concurrency: 1 to 10,000.
  public init(
    _ client: KeelsonClient, name: String = "worker", queues: [String] = ["default"],
    concurrency: Int = 10, drainTimeout: Duration = .seconds(30)
  ) {
    service = KeelsonJobsV1.JobsServiceClient(channel: client.channel)
    self.name = name
    self.queues = queues
    self.concurrency = min(max(1, concurrency), 10_000)
    self.drainTimeout = drainTimeout
    desk = Mutex(WorkerDesk(concurrency: self.concurrency))
  }

  // MARK: Handlers

  /// Says what is done with jobs of a kind, whose parameters are JSON. Called before ``run()``.
  ///
  /// A handler that throws has failed: the job is retried as its policy says, or never when it
  /// throws a ``JobFailure`` that is permanent. Parameters that do not decode are a permanent
  /// failure.
  public func handle<Parameters: Decodable & Sendable, Result: Encodable & Sendable>(
    _ kind: String, parameters: Parameters.Type = Parameters.self,
    _ body: @escaping @Sendable (Parameters, JobRun) async throws -> Result
  ) {
    handle(kind) { payload, run in
      let result = try await body(try Self.decode(payload), run)
      return Payload(kind: .json(String(decoding: try JSONEncoder().encode(result), as: UTF8.self)))
    }
  }

  /// The same, for handlers that return nothing.
  public func handle<Parameters: Decodable & Sendable>(
    _ kind: String, parameters: Parameters.Type = Parameters.self,
    _ body: @escaping @Sendable (Parameters, JobRun) async throws -> Void
  ) {
    handle(kind) { payload, run in
      try await body(try Self.decode(payload), run)
      return nil
    }
  }

  /// Says what is done with jobs of a kind, with their parameters and results as they are.
  public func handle(
    _ kind: String, _ body: @escaping @Sendable (Payload?, JobRun) async throws -> Payload?
  ) {
    handlers.withLock { $0[kind] = { job, run in try await body(job.parameters, run) } }
  }

  private static func decode<Parameters: Decodable>(_ payload: Payload?) throws -> Parameters {
    let bytes: [UInt8] =
      switch payload?.kind {
      case .json(let text): Array(text.utf8)
      case .data(let bytes): bytes
      case nil: Array("null".utf8)
      }
    do {
      return try JSONDecoder().decode(Parameters.self, from: Data(bytes))
    } catch {
      throw JobFailure("The parameters are no \(Parameters.self): \(error)", isPermanent: true)
    }
  }

  // MARK: Running

  /// Runs jobs until its task is cancelled or ``stop()`` is called. Called once.
  ///
  /// - Throws: ``RPCError`` for what dialling again does not cure, INVALID_ARGUMENT for example.
  public func run() async throws {
    // What runs has to end well although the task is cancelled.
    let work = Task { try await self.work() }
    try await withTaskCancellationHandler {
      try await work.value
    } onCancel: {
      stop()
    }
  }

  /// Takes no more jobs; ``run()`` returns once those that run have ended or are handed back.
  public func stop() {
    desk.withLock { $0.stop() }
    outgoing.set()
    Task { [drainTimeout] in
      try? await Task.sleep(for: drainTimeout)
      let tasks = desk.withLock { $0.handBack() }
      for task in tasks { task.cancel() }
    }
  }

  private func work() async throws {
    var failures = 0
    var random = SystemRandomNumberGenerator()
    while !desk.withLock({ $0.isDone }) {
      do {
        try await stream()
        failures = 0
      } catch let error as RPCError {
        guard Self.isCurable(error) else {
          for task in desk.withLock({ $0.abandon() }) { task.cancel() }
          throw error
        }
        if desk.withLock({ $0.hasConnected }) { failures = 0 }
        failures += 1
      }
      guard !desk.withLock({ $0.isDone }) else { return }
      try await Task.sleep(for: backoff.interval(afterFailures: failures, using: &random))
    }
  }

  private static func isCurable(_ error: RPCError) -> Bool {
    switch error.code {
    case .invalidArgument, .permissionDenied, .unauthenticated, .unimplemented,
      .failedPrecondition:
      false
    default: true
    }
  }

  /// One stream, from its hello to its end.
  private func stream() async throws {
    let kinds = handlers.withLock { $0.keys.sorted() }
    let call = service.work()
    defer { call.cancel() }
    let first = desk.withLock { $0.hello(name: name, queues: queues, kinds: kinds) }
    try await call.requests.write(first)
    let sending = Task { try await send(to: call.requests) }
    let beating = Task { try await beat() }
    defer {
      sending.cancel()
      beating.cancel()
    }
    for try await response in call.responses {
      let effects = desk.withLock { $0.take(response) }
      for job in effects.start { start(job) }
      for task in effects.cancel { task.cancel() }
      outgoing.set()
      if effects.isOver { return }
    }
  }

  private func send(to requests: RequestWriter<KeelsonJobsV1.WorkRequest>) async throws {
    while true {
      if let request = desk.withLock({ $0.takeOutgoing() }) {
        try await requests.write(request)
      } else if desk.withLock({ $0.isDone }) {
        return requests.finish()
      } else if await !outgoing.wait() {
        return
      }
    }
  }

  /// Says regularly what it still has.
  private func beat() async throws {
    while true {
      try await Task.sleep(for: desk.withLock { $0.heartbeatInterval })
      desk.withLock { $0.beat() }
      outgoing.set()
    }
  }

  private func start(_ job: LeasedJob) {
    let handler = handlers.withLock { $0[job.kind] }
    let run = JobRun(job) { [weak self] progress in
      self?.desk.withLock { $0.add(progress) }
      self?.outgoing.set()
    }
    // The desk knows the task before it can end.
    desk.withLock { desk in
      desk.begin(
        job,
        Task {
          let result: Swift.Result<Payload?, any Error>
          do {
            guard let handler else {
              throw JobFailure("This worker has no handler for '\(job.kind)'.")
            }
            result = .success(
              try await JobRun.$current.withValue(run) { try await handler(job, run) })
          } catch {
            result = .failure(error)
          }
          finished(job, result)
        })
    }
  }

  private func finished(_ job: LeasedJob, _ result: Swift.Result<Payload?, any Error>) {
    desk.withLock { $0.end(job, result) }
    outgoing.set()
  }
}

/// What a handler throws to say how its failure is to be taken.
public struct JobFailure: Error, Sendable, Hashable, CustomStringConvertible {
  public var message: String
  /// Whether trying again is of no use.
  public var isPermanent: Bool
  /// How long to wait before the next attempt, in place of what the job's retry policy says.
  public var retryAfter: Duration?

  public init(_ message: String, isPermanent: Bool = false, retryAfter: Duration? = nil) {
    self.message = message
    self.isPermanent = isPermanent
    self.retryAfter = retryAfter
  }

  public var description: String { message }
}
