/// How long the work of an attempt may take, so that the worker ends it and says so before the server
/// takes the attempt away at the job's own timeout: from then on another may run beside it.
struct TimeLimit: Sendable, Hashable {
  /// For the work.
  let work: Duration
  /// For what it does once it is told to end.
  let grace: Duration
  /// Whether the job's timeout is why the work has no longer.
  let isJobs: Bool

  /// - Parameters:
  ///   - work: how long it would have otherwise.
  ///   - job: the job's timeout, from the attempt's beginning; nil for none. A tenth of it, a second
  ///     at most, is for the server to hear of the end; the grace takes no more than another quarter.
  init(work: Duration, grace: Duration = .zero, job: Duration?) {
    guard let job else {
      (self.work, self.grace, isJobs) = (work, grace, false)
      return
    }
    let last = job - min(.seconds(1), job / 10)
    let longest = last - min(grace, job / 4)
    self.work = min(work, longest)
    self.grace = min(grace, last - self.work)
    isJobs = work > longest
  }
}
