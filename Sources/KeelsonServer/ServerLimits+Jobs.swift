import KeelsonJobs

extension ServerLimits {
  static let jobs: [ServerLimit] = [
    size(
      "job-parameter-size", \.jobs.parameterBytes, 0...1 << 20,
      "a job's parameters", "INVALID_ARGUMENT"),
    size(
      "job-result-size", \.jobs.resultBytes, 0...1 << 20,
      "a job's result", "the attempt has failed"),
    count(
      "jobs-per-batch", \.jobs.jobsPerBatch, 1...10_000,
      "jobs of one `BatchCreateJobs`", "INVALID_ARGUMENT"),
    duration(
      "job-lease", \.jobs.lease, 1_000...86_400_000,
      "how long a lease lasts from each heartbeat on", "the job runs again"),
    duration(
      "job-heartbeat-interval", \.jobs.heartbeatInterval, 100...3_600_000,
      "how often workers are told to send heartbeats", "the lease ends in time"),
    count(
      "job-workers", \.jobs.workers, 1...1_000_000,
      "workers that are connected", "RESOURCE_EXHAUSTED"),
    count(
      "job-watches", \.jobs.watches, 1...1_000_000,
      "watches of jobs", "RESOURCE_EXHAUSTED"),
    count(
      "job-schedules", \.jobs.schedules, 1...1_000_000,
      "schedules", "RESOURCE_EXHAUSTED"),
    count(
      "job-queue-depth-alert", \.jobs.queueDepthAlert, 1...1_000_000_000,
      "pending jobs in a queue", "health is degraded, an event says so"),
    count(
      "job-metrics-queues", \.jobs.queuesInMetrics, 0...1_000,
      "queues that `/metrics` tells of each", "they are told of as one"),
    duration(
      "job-inbox-interval", \.jobs.inboxInterval, 1...3_600_000,
      "time between two looks for jobs made by SQL", "they wait"),
    count(
      "job-inbox-rows", \.jobs.inboxRows, 1...10_000,
      "jobs made by SQL that one transaction takes up", "the next takes over"),
    duration(
      "job-inbox-keep-refused", \.jobs.inboxKeepRefused, 60_000...315_360_000_000,
      "how long jobs made by SQL are kept that were refused", "they are removed"),
  ]
}
