import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson jobs batch`: the jobs of a file, created many at a time and followed to their end.
enum JobsBatchCommand {
  static let command = Command(
    name: "batch", summary: "Create the jobs of a file, and wait for them if asked to",
    discussion: """
      Each line of the file is a job as JSON: {"kind": "mail", "parameters": {"to": "anna"}}, with \
      queue, priority, retries, time_limit, delay, at, tags, concurrency_key, unique_key and \
      unique_for where wanted; what a line leaves out the options say. All lines are read before \
      the first job is created. The jobs get a tag of their own, batch/ID, by which 'keelson jobs \
      list --tag' finds them. With --wait, a job that did not succeed is a failure.
      """,
    arguments: [.init(name: "FILE", help: "A file with a job in each line.")],
    options: JobOptions.definition + [
      .init(name: "kind", value: "KIND", help: "What there is to do, where a line does not say."),
      .init(name: "wait", help: "Wait for the end of all jobs, and show how far they are."),
    ] + Session.options
  ) { invocation in
    let tag = "batch/\(UUIDv7.make())"
    var template = try JobOptions.job(invocation.option("kind") ?? "", invocation)
    template.tags.append(tag)
    let file = BatchFile(path: invocation.argument("FILE"), template: template)
    let tally = BatchTally(waits: invocation.has("wait"))
    try await file.readJobs { job, _ in tally.expect(in: job.job?.queue ?? "") }
    guard tally.progress.total > 0 else {
      throw RPCError(.invalidArgument, "There is no job in \(file.path).")
    }
    try await Session.run(invocation) { session in
      try await session.requireServer()
      let display = BatchDisplay()
      // Whoever breaks it off finds the jobs by it.
      if invocation.has("wait") || display.isTerminal {
        Output.note("The jobs get the tag \(tag).")
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await display.run { tally.progress } }
        defer {
          group.cancelAll()
          display.finish()
        }
        let run = BatchRun(file: file, tag: tag, tally: tally, jobs: session.client.jobs.service)
        if invocation.has("wait") {
          group.addTask { await run.follow() }
        }
        try await run.create()
        if invocation.has("wait") { try await run.wait() }
      }
      let progress = tally.progress
      try session.output.print(tally.json(tag: tag)) {
        progress.summary + tally.failures.map { "\n\($0)" }.joined()
      }
      guard !invocation.has("wait") || progress.unsuccessful == 0 else {
        throw RPCError(
          .aborted,
          "\(BatchProgress.grouped(progress.unsuccessful)) jobs did not succeed: "
            + "'keelson jobs list --tag \(tag)' shows them.")
      }
    }
  }
}
