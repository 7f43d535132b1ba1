import Foundation
import KeelsonClient
import KeelsonTestKit
import Synchronization
import Testing

/// `JobWorker` against the real server.
@Suite(.timeLimit(.minutes(5))) struct JobWorkerTests {
  struct Numbers: Codable, Sendable {
    var numbers: [Int]
  }

  private func withServer(
    _ body: (KeelsonProcess, URL, KeelsonClient) async throws -> Void
  ) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: folder) }
    let server = try await KeelsonProcess.start(data: folder)
    var configuration = KeelsonClient.Configuration(server: server.address)
    configuration.subscribesToFlags = false
    let client = try KeelsonClient(configuration)
    try await body(server, folder, client)
    await client.shutdown()
  }

  @Test func aWorkerRunsJobsAndOutlivesItsServer() async throws {
    try await withServer { server, folder, client in
      let worker = JobWorker(client, concurrency: 4)
      worker.handle("sum", parameters: Numbers.self) { (given, run) -> Int in
        run.report(0.5, "half")
        run.log("a line of attempt \(run.attempt)")
        return given.numbers.reduce(0, +)
      }
      let running = Task { try await worker.run() }
      var ids: [String] = []
      for number in 0..<20 {
        ids.append(
          try await client.jobs.create("sum", Numbers(numbers: [number, number])).id)
      }
      for (number, id) in ids.enumerated() {
        #expect(try await client.jobs.wait(for: id).state == .completed)
        #expect(try await client.jobs.get(id).result?.kind == .json("\(2 * number)"))
      }
      await server.crash()
      let again = try await KeelsonProcess.start(data: folder, listen: server.address)
      let late = try await client.jobs.create(
        "sum", Numbers(numbers: [7]), options: CallOptions(waitForReady: true))
      #expect(try await client.jobs.wait(for: late.id).state == .completed)
      worker.stop()
      try await running.value
      #expect(await again.stop() == 0)
    }
  }

  @Test func failuresAndCancellationsReachTheServer() async throws {
    try await withServer { server, _, client in
      let worker = JobWorker(client)
      worker.handle("never", parameters: Numbers.self) { _, _ in
        throw JobFailure("not today", isPermanent: true)
      }
      worker.handle("long") { _, _ in
        try await Self.untilCancelled()
        return nil
      }
      let running = Task { try await worker.run() }
      let failed = try await client.jobs.create("never", Numbers(numbers: []))
      let ended = try await client.jobs.wait(for: failed.id)
      #expect(ended.state == .failed && ended.attempt == 1)
      #expect(try await client.jobs.get(failed.id).attempts.last?.error == "not today")

      // Parameters of another shape fail for good, too.
      let odd = try await client.jobs.create("never", ["a": "b"])
      #expect(try await client.jobs.wait(for: odd.id).state == .failed)

      let long = try await client.jobs.create("long", Numbers(numbers: []))
      try await client.jobs.started(long.id)
      try await client.jobs.cancel(long.id)
      #expect(try await client.jobs.wait(for: long.id).state == .cancelled)
      running.cancel()
      try await running.value
      #expect(await server.stop() == 0)
    }
  }

  @Test func whatStillRunsWhenAWorkerStopsIsHandedBack() async throws {
    try await withServer { server, _, client in
      let first = JobWorker(client, name: "first", drainTimeout: .milliseconds(50))
      first.handle("long") { _, _ in
        try await Self.untilCancelled()
        return nil
      }
      let running = Task { try await first.run() }
      let long = try await client.jobs.create("long", Numbers(numbers: []))
      try await client.jobs.started(long.id)
      running.cancel()
      try await running.value
      let job = try await client.jobs.get(long.id)
      #expect(job.state == .pending && job.attempts.last?.outcome == .handedBack)

      let second = JobWorker(client, name: "second")
      second.handle("long") { _, _ in nil }
      let rest = Task { try await second.run() }
      let ended = try await client.jobs.wait(for: long.id)
      #expect(ended.state == .completed && ended.worker == "second" && ended.attempt == 2)
      rest.cancel()
      try await rest.value
      #expect(await server.stop() == 0)
    }
  }

  /// What a handler does that only ends when it is told to.
  private static func untilCancelled() async throws {
    let (never, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in never {}
    continuation.finish()
    try Task.checkCancellation()
  }
}

extension Jobs {
  /// Waits until a worker has a job.
  fileprivate func started(_ id: String) async throws {
    for try await response in service.watchJobs(.init(id: id))
    where response.job?.state == .running {
      return
    }
  }
}
