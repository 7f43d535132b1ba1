package import KeelsonAPI
package import KeelsonCore

extension JobService {
  package func work(
    requests: RequestStream<API.WorkRequest>, responses: ResponseWriter<API.WorkResponse>,
    context: ServerContext
  ) async throws {
    var iterator = requests.makeAsyncIterator()
    guard let first = try await iterator.next() else { return }
    guard let hello = first.hello else {
      throw RPCError.invalidArgument(field: "hello", "is required in a worker's first message")
    }
    let session = try checked(hello, peer: context.peer)
    let held = try leases(hello.held, field: "hello.held")
    try dispatcher.connect(session)
    defer { dispatcher.disconnect(session.id) }

    var welcome = API.WorkResponse()
    welcome.welcome = self.welcome(session)
    try await responses.write(welcome)
    try await mapped { try await dispatcher.heartbeat(held, of: session.id, isNew: true) }
    try await take(first, from: session.id)

    let sending = Task { [dispatcher] in
      while let response = await dispatcher.next(for: session.id) {
        try await responses.write(response)
      }
    }
    defer { sending.cancel() }
    try await withTaskCancellationHandler {
      while let request = try await iterator.next() {
        guard request.hello == nil else {
          throw RPCError.invalidArgument(field: "hello", "is for a worker's first message only")
        }
        try await take(request, from: session.id)
      }
      // It has said all: it hears what became of its results, and then the stream ends.
      dispatcher.drain(session.id)
      try await sending.value
    } onCancel: {
      sending.cancel()
    }
  }

  private func welcome(_ session: WorkerSession) -> API.WorkerWelcome {
    var welcome = API.WorkerWelcome()
    welcome.session = session.id
    welcome.lease = .init(limits.lease)
    welcome.heartbeatInterval = .init(limits.heartbeatInterval)
    return welcome
  }

  /// Does what a message says.
  private func take(_ request: API.WorkRequest, from id: String) async throws {
    guard request.credit >= 0 else {
      throw RPCError.invalidArgument(field: "credit", "\(request.credit) is negative")
    }
    let results = try request.results.enumerated().map { try result($1, field: "results[\($0)]") }
    let heartbeats = try leases(request.heartbeats, field: "heartbeats")
    let open = dispatcher.session(id)?.openResults ?? 0
    guard open + results.count <= limits.credit else {
      throw RPCError(
        .resourceExhausted,
        "results: \(open) wait for an answer; at most \(limits.credit) may. Wait for receipts.")
    }
    let progress = try request.progress.enumerated().map {
      try self.progress($1, field: "progress[\($0)]")
    }
    dispatcher.add(progress, from: id)
    dispatcher.add(results, from: id)
    var isOver = false
    dispatcher.update(id) { session in
      session.hear(at: .now)
      session.credit += Int(request.credit)
      isOver = session.credit > limits.credit
      if request.draining {
        session.isDraining = true
        session.credit = 0
      }
    }
    guard !isOver else {
      throw RPCError(
        .resourceExhausted, "credit: at most \(limits.credit) jobs may be open for one worker.")
    }
    if !heartbeats.isEmpty {
      try await mapped { try await dispatcher.heartbeat(heartbeats, of: id) }
    }
  }

  private func checked(_ hello: API.WorkerHello, peer: String) throws -> WorkerSession {
    var violations = Violations(prefix: "hello")
    violations.check("name", validation.nameProblem(hello.name))
    for (field, names, limit) in [
      ("queues", hello.queues, limits.queuesPerWorker),
      ("kinds", hello.kinds, limits.kindsPerWorker),
    ] {
      if !(1...limit).contains(names.count) {
        violations.check(field, "has \(names.count) names; 1 to \(limit) are allowed")
      }
      for (index, name) in names.prefix(limit).enumerated() {
        violations.check("\(field)[\(index)]", validation.nameProblem(name))
      }
    }
    try violations.throwIfAny()
    let now = UnixTime.now
    return WorkerSession(
      id: UUIDv7.make(at: now), name: hello.name, queues: Set(hello.queues),
      kinds: Set(hello.kinds), peer: peer, connectTime: now, lastHeardTime: now)
  }

  private func leases(
    _ leases: [API.LeaseID], field: String
  ) throws -> [(id: JobID, attempt: Int)] {
    guard leases.count <= limits.credit else {
      throw RPCError.invalidArgument(
        field: field, "has \(leases.count) leases; at most \(limits.credit) are allowed")
    }
    return try leases.enumerated().map { try lease($1, field: "\(field)[\($0)]") }
  }

  private func lease(_ lease: API.LeaseID?, field: String) throws -> (id: JobID, attempt: Int) {
    guard let lease else { throw RPCError.invalidArgument(field: field, "is required") }
    return (
      try JobValidation.id(lease.jobId, field: "\(field).job_id"), Int(lease.attempt)
    )
  }

  private func progress(
    _ given: API.JobProgress, field: String
  ) throws -> (id: JobID, progress: API.JobProgress) {
    let lease = try lease(given.lease, field: "\(field).lease")
    guard given.progress <= 1 else {
      throw RPCError.invalidArgument(
        field: "\(field).progress", "\(given.progress) is not from 0 to 1")
    }
    var progress = API.JobProgress()
    progress.lease = .init(lease.id, lease.attempt)
    progress.progress = given.progress
    progress.message = Self.cut(given.message, to: limits.logLineBytes)
    progress.logs = given.logs.suffix(API.JobProgress.keptLines).map { line in
      var kept = API.JobLogLine()
      kept.time = line.time
      kept.text = Self.cut(line.text, to: limits.logLineBytes)
      return kept
    }
    return (lease.id, progress)
  }

  /// The beginning of a text, to the last whole character.
  private static func cut(_ text: String, to bytes: Int) -> String {
    guard text.utf8.count > bytes else { return text }
    var cut = text.unicodeScalars
    cut.removeLast(max(0, cut.count - bytes))
    while String(cut).utf8.count > bytes { cut.removeLast() }
    return String(cut)
  }

  private func result(_ given: API.AttemptResult, field: String) throws -> JobEngine.Result {
    let lease = try lease(given.lease, field: "\(field).lease")
    let outcome: JobEngine.Result.Outcome
    switch given.outcome {
    case .succeeded(let payload):
      if let problem = validation.payloadProblem(payload, limit: limits.resultBytes) {
        // The work is done: it would be done again for ever if this were the stream's end.
        outcome = .failed(
          message: "The handler's result \(problem).", isPermanent: true, retryAfter: nil)
      } else {
        outcome = .succeeded(payload.kind == nil ? nil : payload)
      }
    case .failed(let failure):
      outcome = .failed(
        message: Self.cut(failure.message, to: limits.errorBytes),
        isPermanent: failure.permanent,
        retryAfter: failure.retryAfter.map { max(.zero, $0.clampedDuration) })
    case .cancelled: outcome = .cancelled
    case .handedBack: outcome = .handedBack
    case nil:
      throw RPCError.invalidArgument(field: "\(field).outcome", "is required")
    }
    return JobEngine.Result(id: lease.id, attempt: lease.attempt, outcome: outcome)
  }
}
