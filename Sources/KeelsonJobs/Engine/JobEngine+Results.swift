import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// What a worker says of an attempt.
  struct Result: Sendable {
    enum Outcome: Sendable {
      case succeeded(API.Payload?)
      case failed(message: String, isPermanent: Bool, retryAfter: Duration?)
      case cancelled
      case handedBack

      var name: API.AttemptOutcome {
        switch self {
        case .succeeded: .succeeded
        case .failed: .failed
        case .cancelled: .cancelled
        case .handedBack: .handedBack
        }
      }
    }

    var id: JobID
    var attempt: Int
    var outcome: Outcome

    /// What its statement holds of it.
    var roughBytes: Int {
      switch outcome {
      case .succeeded(let payload):
        switch payload?.kind {
        case .json(let text): 64 + text.utf8.count
        case .data(let bytes): 64 + bytes.count
        case nil: 64
        }
      case .failed(let message, _, _): 64 + message.utf8.count
      case .cancelled, .handedBack: 64
      }
    }
  }

  /// What became of a result: the job's state, or nil when the lease was another's by then. One
  /// that was taken before, and is sent again because its receipt was lost, has not been refused.
  typealias Receipts = [JobState?]

  /// Takes results, each if its lease is still the worker's.
  ///
  /// - Returns: what became of each, in their order.
  func finish(_ results: [Result]) async throws -> Receipts {
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var receipts = Receipts(repeating: nil, count: results.count)
        var counts = JobCounts()
        var executed: [JobNews] = []
        var completing: [(id: JobID, attempt: Int, result: API.Payload?)] = []
        var places: [JobID: Int] = [:]
        var others: [Int] = []
        for (index, result) in results.enumerated() {
          if case .succeeded(let payload) = result.outcome, places[result.id] == nil {
            places[result.id] = index
            completing.append((result.id, result.attempt, payload))
          } else {
            others.append(index)
          }
        }
        for done in try await JobRepository.complete(
          completing, now: change.time, dialect: database.dialect, in: change)
        {
          guard let index = places[done.id] else { continue }
          receipts[index] = .completed
          counts.add(-1, to: .running, queue: done.queue, kind: done.kind)
          counts.add(1, to: .completed, queue: done.queue, kind: done.kind)
          executed.append(
            JobNews(
              id: done.id, queue: done.queue, kind: done.kind, state: .completed,
              attempt: results[index].attempt, worker: done.worker, session: done.session,
              runTime: done.startTime))
        }
        var moved = Moved()
        for index in others {
          receipts[index] = try await apply(
            results[index], counts: &counts, moved: &moved, in: change)
        }
        let isNothing = executed.isEmpty && moved.isEmpty
        if !isNothing { try await write(moved.jobs, counts, more: moved.attempts, in: change) }
        for (index, result) in results.enumerated() where receipts[index] == nil {
          receipts[index] = try await AttemptRepository.state(
            of: result.id, ifAttempt: result.attempt, ended: result.outcome.name, in: change)
        }
        guard !isNothing else { throw Nothing(value: receipts) }
        if !executed.isEmpty { change.emit(.executed, executed) }
        moved.emit(in: change)
        return receipts
      }
    } catch let nothing as Nothing<Receipts> {
      return nothing.value
    }
  }

  /// Applies a result that is not a plain success.
  private func apply(
    _ result: Result, counts: inout JobCounts, moved: inout Moved, in change: Change
  ) async throws -> JobState? {
    guard var job = try await moved.job(result.id, in: change) else { return nil }
    let before = job
    var error = ""
    var outcome = API.AttemptOutcome.failed
    do throws(JobLifecycle.Refusal) {
      switch result.outcome {
      case .succeeded(let payload):
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.complete(token: result.attempt)
        }
        job.result = payload
        outcome = .succeeded
      case .failed(let message, let isPermanent, let retryAfter):
        error = message
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.fail(
            token: result.attempt, isPermanent ? .permanent : .error, chance: Self.chance(),
            now: change.time)
          if let retryAfter { life.postpone(to: change.time + retryAfter) }
        }
      case .cancelled:
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.confirmCancellation(token: result.attempt)
        }
        outcome = .cancelled
      case .handedBack:
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.handBack(token: result.attempt, chance: Self.chance(), now: change.time)
        }
        outcome = .handedBack
      }
    } catch {
      return nil
    }
    counts.move(job, from: before.lifecycle.state)
    let progress = try await ProgressRepository.progress(of: job.id, in: change)
    moved.add(
      job, before: before, outcome: outcome, error: error, progress: progress, at: change.time)
    return job.lifecycle.state
  }

  /// A lease that a worker holds.
  struct Held: Sendable {
    var id: JobID
    var attempt: Int
    /// What is left of its grace time when its job was called off.
    var grace: Duration?
  }

  /// Prolongs leases.
  ///
  /// - Returns: those that are held.
  func prolong(_ leases: [(id: JobID, attempt: Int)]) async throws -> [Held] {
    guard !leases.isEmpty else { return [] }
    let dialect = database.dialect
    let length = limits.lease
    return try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction, dialect).nextTime
      let held = try await JobRepository.prolong(
        leases, until: now + length, dialect: dialect, in: transaction)
      return held.map { lease in
        Held(
          id: lease.id, attempt: lease.attempt,
          grace: lease.cancelTime.map { max(.zero, now.duration(to: $0)) })
      }
    }
  }
}
