import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import Synchronization

/// What this server has done with jobs since it began, and what it has heard of the whole fleet.
final class JobTallies: Sendable {
  struct Counts: Sendable {
    var claimed = 0
    var completed = 0
    var failedAttempts = 0
    var handedBack = 0
    var refusedResults = 0
    var expiredLeases = 0
    var timeouts = 0
    var takenUp = 0
    /// Jobs of the whole fleet that failed for good, and attempts, those that are retried among
    /// them.
    var fleetFailedJobs = 0
    var fleetFailedAttempts = 0
  }

  private let state = Mutex(Counts())

  var counts: Counts { state.withLock { $0 } }

  func claimed(_ number: Int) {
    state.withLock { $0.claimed += number }
  }

  /// Jobs that SQL had made.
  func tookUp(_ number: Int) {
    state.withLock { $0.takenUp += number }
  }

  /// Results with what became of each.
  func took(_ results: [JobEngine.Result], _ receipts: JobEngine.Receipts) {
    state.withLock { counts in
      for (result, receipt) in zip(results, receipts) {
        switch (result.outcome, receipt) {
        case (_, nil): counts.refusedResults += 1
        case (.succeeded, _): counts.completed += 1
        case (.failed, _): counts.failedAttempts += 1
        case (.handedBack, _): counts.handedBack += 1
        case (.cancelled, _): break
        }
      }
    }
  }

  func moved(_ tick: JobEngine.Tick) {
    state.withLock { counts in
      counts.expiredLeases += tick.expiredLeases
      counts.timeouts += tick.timeouts
    }
  }

  /// What an event of any server tells.
  func heard(_ event: JobEvent, _ jobs: [KeelsonJobsV1.Job]) {
    guard event == .failed else { return }
    state.withLock { counts in
      counts.fleetFailedAttempts += jobs.count
      counts.fleetFailedJobs += jobs.count { $0.state == .failed }
    }
  }

  var metricFamilies: [MetricFamily] {
    let counts = counts
    func counter(_ name: String, _ help: String, _ value: Int) -> MetricFamily {
      MetricFamily(name, .counter, help, [.init(Int64(value))])
    }
    return [
      counter(
        "keelson_jobs_claimed_total", "Jobs that this server handed to workers.", counts.claimed),
      counter(
        "keelson_jobs_completed_total", "Jobs that this server's workers completed.",
        counts.completed),
      counter(
        "keelson_job_attempts_failed_total", "Attempts that this server's workers said had failed.",
        counts.failedAttempts),
      counter(
        "keelson_jobs_handed_back_total", "Jobs that this server's workers handed back.",
        counts.handedBack),
      counter(
        "keelson_job_results_refused_total",
        "Results that this server refused: the lease was another's by then.",
        counts.refusedResults),
      counter(
        "keelson_job_leases_expired_total",
        "Leases that this server ended, whose workers were not heard of in time.",
        counts.expiredLeases),
      counter(
        "keelson_job_timeouts_total", "Attempts that this server ended at their timeout.",
        counts.timeouts),
      counter(
        "keelson_jobs_taken_up_total", "Jobs made by SQL that this server took up.",
        counts.takenUp),
    ]
  }
}
