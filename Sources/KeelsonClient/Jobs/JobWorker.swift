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
/// that run end within ``drainTimeout``, and hands the others back. What handlers do not break off
/// and the server does not hear of within ``farewellTimeout`` is given up: those jobs run again when
/// their leases are over.
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
  /// How long it waits after that for handlers to break off, and for the server to hear of it.
  public let farewellTimeout: Duration

  private let observer: JobWorkerObserver
  private let service: KeelsonJobsV1.JobsServiceClient
  private let handlers = Mutex<[String: Handler]>([:])
  private let desk: Mutex<WorkerDesk>
  private let outgoing = Wakeup()
  /// Ends a pause before the next stream early.
  private let retry = Wakeup()
  /// Breaks off the stream that there is.
  private let cancelStream = Mutex<(@Sendable () -> Void)?>(nil)
  private let ending = Mutex<Task<Void, any Error>?>(nil)
  private let backoff = ConnectionBackoff(initial: .milliseconds(100), maximum: .seconds(10))

  /// - Parameters:
  ///   - name: 1 to 128 bytes of letters, digits, `.`, `_`, `-` and `/`.
  ///   - concurrency: 1 to 10,000.
  ///   - observer: hears what becomes of the worker and its jobs.
  public init(
    _ client: KeelsonClient, name: String = "worker", queues: [String] = ["default"],
    concurrency: Int = 10, drainTimeout: Duration = .seconds(30),
    farewellTimeout: Duration = .seconds(15), observer: JobWorkerObserver = JobWorkerObserver()
  ) {
    service = KeelsonJobsV1.JobsServiceClient(channel: client.channel)
    self.name = name
    self.queues = queues
    self.concurrency = min(max(1, concurrency), 10_000)
    self.drainTimeout = drainTimeout
    self.farewellTimeout = farewellTimeout
    self.observer = observer
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
  /// - Throws: ``RPCError`` for what dialling again does not cure, INVALID_ARGUMENT for example;
  ///   DEADLINE_EXCEEDED when jobs had to be given up in the end.
  public func run() async throws {
    // What runs has to end well although the task is cancelled.
    let work = Task { try await self.work() }
    defer { ending.withLock { $0 }?.cancel() }
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
    retry.set()
    ending.withLock { ending in
      if ending == nil { ending = Task { try await self.end() } }
    }
  }

  /// The end of a worker that was told to stop, step by step.
  private func end() async throws {
    try await Task.sleep(for: drainTimeout)
    let tasks = desk.withLock { $0.handBack() }
    for task in tasks { task.cancel() }
    try await Task.sleep(for: farewellTimeout)
    for task in desk.withLock({ $0.giveUp() }) { task.cancel() }
    cancelStream.withLock { $0 }?()
    retry.set()
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
          for task in desk.withLock({ $0.giveUp() }) { task.cancel() }
          throw error
        }
        if desk.withLock({ $0.hasConnected }) { failures = 0 }
        failures += 1
        if !desk.withLock({ $0.isDone }) { observer.interrupted(error) }
      }
      guard !desk.withLock({ $0.isDone }) else { break }
      await pause(backoff.interval(afterFailures: failures, using: &random))
    }
    let givenUp = desk.withLock { $0.givenUp }
    guard givenUp == 0 else {
      throw RPCError(
        .deadlineExceeded,
        "The worker has stopped, and the server has not heard what became of "
          + "\(givenUp == 1 ? "a job" : "\(givenUp) jobs"): they run again when their leases are over."
      )
    }
  }

  /// Waits, but for no longer than there is nothing to do.
  private func pause(_ time: Duration) async {
    let timer = Task {
      try await Task.sleep(for: time)
      retry.set()
    }
    _ = await retry.wait()
    timer.cancel()
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
    cancelStream.withLock { $0 = { call.cancel() } }
    defer {
      cancelStream.withLock { $0 = nil }
      call.cancel()
    }
    let (first, stream) = desk.withLock { desk in
      (desk.hello(name: name, queues: queues, kinds: kinds), desk.stream)
    }
    // Whoever gave up meanwhile has not seen this stream.
    guard !desk.withLock({ $0.isDone }) else { return }
    try await call.requests.write(first)
    let sending = Task { try await send(stream, to: call.requests) }
    var beating: Task<Void, any Error>?
    defer {
      sending.cancel()
      beating?.cancel()
    }
    for try await response in call.responses {
      let effects = desk.withLock { $0.take(response) }
      for job in effects.start { start(job) }
      for task in effects.cancel { task.cancel() }
      if effects.isWelcome {
        observer.connected()
        // Only now is it known how often.
        beating = Task { try await beat() }
      }
      outgoing.set()
      if effects.isOver { return }
    }
  }

  private func send(
    _ stream: Int, to requests: RequestWriter<KeelsonJobsV1.WorkRequest>
  ) async throws {
    while true {
      if let request = desk.withLock({ $0.takeOutgoing(of: stream) }) {
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
          observer.began(run)
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
          switch result {
          case .success: observer.ended(run, nil)
          case .failure(let error): observer.ended(run, error)
          }
          finished(job, result)
        })
    }
  }

  private func finished(_ job: LeasedJob, _ result: Swift.Result<Payload?, any Error>) {
    desk.withLock { $0.end(job, result) }
    outgoing.set()
    if desk.withLock({ $0.isStopping }) { retry.set() }
  }
}
