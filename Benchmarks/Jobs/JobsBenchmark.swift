import Foundation
import KeelsonClient
import Synchronization

/// One of the processes that dev/bench jobs runs: who creates jobs, who works, and who waits until all
/// are done. Each prints one JSON object of lists when it ends.
///
///     JobsBenchmark create  SERVER QUEUE JOBS BATCH CALLERS
///     JobsBenchmark steady  SERVER QUEUE JOBS PER_SECOND
///     JobsBenchmark work    SERVER QUEUE CONCURRENCY      until SIGTERM
///     JobsBenchmark await   SERVER QUEUE JOBS
@main struct JobsBenchmark {
  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst()
    guard let mode = arguments.first, arguments.count >= 3 else {
      print("usage: JobsBenchmark create|steady|work|await SERVER QUEUE …")
      exit(2)
    }
    let rest = Array(arguments.dropFirst())
    let numbers = rest.dropFirst(2).compactMap { Int($0) }
    var configuration = KeelsonClient.Configuration(server: rest[0])
    configuration.subscribesToFlags = false
    let client = try KeelsonClient(configuration)
    let figures: [String: Double]
    var pickups: [Double] = []
    switch (mode, numbers.count) {
    case ("create", 3):
      figures = try await JobCreation(client, rest[1], jobs: numbers[0], batch: numbers[1])
        .run(callers: numbers[2])
    case ("steady", 2):
      figures = try await JobCreation(client, rest[1], jobs: numbers[0], batch: 1)
        .run(perSecond: numbers[1])
    case ("work", 1):
      (figures, pickups) = try await NoOpWorker.run(client, rest[1], concurrency: numbers[0])
    case ("await", 1):
      figures = try await awaitCompletion(client, rest[1], jobs: Int64(numbers[0]))
    default:
      print("JobsBenchmark: '\(mode)' takes other arguments")
      exit(2)
    }
    let values = figures.mapValues { [$0] }.merging(["pickups": pickups]) { $1 }
    print(String(decoding: try JSONEncoder().encode(values), as: UTF8.self))
    await client.shutdown()
  }

  /// Polls the queue's counters, which are written with the jobs they count.
  private static func awaitCompletion(
    _ client: KeelsonClient, _ queue: String, jobs: Int64
  ) async throws -> [String: Double] {
    while true {
      let now = try await client.jobs.service.getQueue(.init(name: queue))
      if now.completed >= jobs { return ["end": Clock.seconds] }
      guard now.failed == 0 else { throw JobFailure("\(now.failed) jobs have failed") }
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}

/// CLOCK_MONOTONIC, which all processes share.
enum Clock {
  static var seconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// Milliseconds that something took, many times.
struct Latencies {
  var milliseconds: [Double] = []

  func figures(_ name: String) -> [String: Double] {
    let sorted = milliseconds.sorted()
    guard !sorted.isEmpty else { return [:] }
    return [
      "\(name)_p50": sorted[sorted.count / 2], "\(name)_p99": sorted[sorted.count * 99 / 100],
      "\(name)_max": sorted[sorted.count - 1],
    ]
  }
}

/// Creates jobs that do nothing. Each one's parameters say when it was asked for.
struct JobCreation {
  let client: KeelsonClient
  let queue: String
  let jobs: Int
  let batch: Int

  init(_ client: KeelsonClient, _ queue: String, jobs: Int, batch: Int) {
    self.client = client
    self.queue = queue
    self.jobs = jobs
    self.batch = batch
  }

  private func job() -> KeelsonJobsV1.CreateJobRequest {
    var request = KeelsonJobsV1.CreateJobRequest()
    request.job = .init()
    request.job?.kind = "no-op"
    request.job?.queue = queue
    request.job?.parameters = .init(kind: .json("\(Clock.seconds)"))
    return request
  }

  /// - Returns: how long the call took, in milliseconds.
  private func call() async throws -> Double {
    let start = Clock.seconds
    if batch == 1 {
      _ = try await client.jobs.service.createJob(job())
    } else {
      var request = KeelsonJobsV1.BatchCreateJobsRequest()
      request.requests = (0..<batch).map { _ in job() }
      _ = try await client.jobs.service.batchCreateJobs(request)
    }
    return (Clock.seconds - start) * 1_000
  }

  /// As fast as so many callers can, each waiting for its answer.
  func run(callers: Int) async throws -> [String: Double] {
    let start = Clock.seconds
    let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
      let calls = jobs / batch
      for caller in 0..<callers {
        let share = calls / callers + (caller < calls % callers ? 1 : 0)
        group.addTask {
          var taken: [Double] = []
          for _ in 0..<share { taken.append(try await call()) }
          return taken
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    let seconds = Clock.seconds - start
    return Latencies(milliseconds: latencies).figures("call").merging([
      "start": start, "per_second": Double(latencies.count * batch) / seconds,
    ]) { $1 }
  }

  /// One after the other at a steady pace, whether or not those before are answered.
  func run(perSecond: Int) async throws -> [String: Double] {
    let start = ContinuousClock.now
    let interval = Duration.seconds(1) / perSecond
    let latencies = try await withThrowingTaskGroup(of: Double.self) { group in
      for number in 0..<jobs {
        try await Task.sleep(until: start + interval * number, tolerance: .microseconds(100))
        group.addTask { try await call() }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    return Latencies(milliseconds: latencies).figures("call")
  }
}

enum NoOpWorker {
  private static let pickups = Mutex(Latencies())

  static func run(
    _ client: KeelsonClient, _ queue: String, concurrency: Int
  ) async throws -> (figures: [String: Double], pickups: [Double]) {
    let worker = JobWorker(client, name: "bench", queues: [queue], concurrency: concurrency)
    worker.handle("no-op") { payload, _ in
      let now = Clock.seconds
      if case .json(let asked) = payload?.kind, let asked = Double(asked) {
        pickups.withLock { $0.milliseconds.append((now - asked) * 1_000) }
      }
      return nil
    }
    signal(SIGTERM, SIG_IGN)
    let termination = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
    termination.setEventHandler { worker.stop() }
    termination.resume()
    let start = Clock.seconds
    try await worker.run()
    return pickups.withLock { latencies in
      (
        ["start": start, "jobs": Double(latencies.milliseconds.count)], latencies.milliseconds
      )
    }
  }
}
