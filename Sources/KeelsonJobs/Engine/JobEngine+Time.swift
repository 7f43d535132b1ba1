import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  struct Tick: Sendable {
    /// Whether something was done, so that it is to be looked again at once.
    var isCut = false
    /// How long nothing is due.
    var next: Duration?
    /// Attempts that ended since their worker was not heard of, or at their timeout.
    var expiredLeases = 0
    var timeouts = 0
  }

  /// Moves the jobs whose time has come, and those whose leases have ended.
  func tick() async throws -> Tick {
    let dialect = database.dialect
    let (times, now) = try await database.read { transaction in
      (
        try await JobRepository.nextTimes(in: transaction),
        try await ChangeHead.current(in: transaction, dialect).nextTime
      )
    }
    let next = [times.due, times.expiry].compactMap { $0 }.min()
    guard let next, next <= now else {
      return Tick(next: [next, times.schedule].compactMap { $0 }.min().map(now.duration(to:)))
    }
    let limit = limits.claimsPerRound
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var counts = JobCounts()
        var moved = Moved()
        let due = try await JobRepository.due(at: change.time, limit: limit, in: change)
        for var job in due {
          let before = job
          try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
            try life.becomeDue(now: change.time)
          }
          counts.move(job, from: before.lifecycle.state)
          moved.add(job, before: before, outcome: nil, error: "", at: change.time)
        }
        var tick = Tick(isCut: true)
        let expired = try await JobRepository.expired(at: change.time, limit: limit, in: change)
        for var job in expired {
          let before = job
          let isOver = before.lifecycle.lease?.deadline.map { $0 <= change.time } ?? false
          try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
            try life.expire(chance: Self.chance(), now: change.time)
          }
          counts.move(job, from: before.lifecycle.state)
          let wasCancelled = job.lifecycle.state == .cancelled
          if !wasCancelled, isOver { tick.timeouts += 1 }
          if !wasCancelled, !isOver { tick.expiredLeases += 1 }
          moved.add(
            job, before: before,
            outcome: wasCancelled ? .cancelled : isOver ? .timedOut : .leaseExpired,
            error: wasCancelled
              ? "It was called off, and not broken off when the grace time was over."
              : isOver
                ? "It took longer than its timeout."
                : "The worker '\(before.worker)' was not heard of in time.",
            at: change.time)
        }
        guard !moved.isEmpty else { throw Nothing(value: ()) }
        try await write(moved.jobs, counts, more: moved.attempts, in: change)
        moved.emit(in: change)
        return tick
      }
    } catch is Nothing<Void> {
      // Another server has done it, or a worker was heard of meanwhile.
      return Tick(isCut: true)
    }
  }
}
