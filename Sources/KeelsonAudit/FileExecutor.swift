import Dispatch

/// Runs tasks that read and write files, and hash much, on threads of its own: neither a loop nor the
/// threads that all other tasks share may wait for a disk.
final class FileExecutor: TaskExecutor {
  private let queue = DispatchQueue(label: "keelson.audit.files", attributes: .concurrent)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}
