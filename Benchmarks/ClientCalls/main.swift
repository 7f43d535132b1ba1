// What a unary call costs the client's process: CPU time by getrusage(2), user and system, over
// many calls of grpc.health.v1.Health/Check on one channel, by as many tasks at once as asked for.
//
//     keelson serve --listen 127.0.0.1:7400 …
//     swift run -c release client-calls-benchmark 127.0.0.1:7400 [calls] [tasks]

import Glibc
import KeelsonCore
import KeelsonTransport

private func processSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
  return seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

private let check = MethodDescriptor(
  service: "grpc.health.v1.Health", name: "Check", kind: .unary, isIdempotent: true)

/// Kept off the main actor: on it each step of a call would change threads.
@concurrent
private func makeCalls(_ calls: Int, _ tasks: Int, over channel: HTTP2Channel) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    for _ in 0..<tasks {
      group.addTask {
        for _ in 0..<calls / tasks {
          _ = try await channel.unary(check, [], options: CallOptions())
        }
      }
    }
    try await group.waitForAll()
  }
}

private let arguments = CommandLine.arguments
guard arguments.count >= 2 else {
  print("usage: client-calls-benchmark host:port [calls] [tasks]")
  exit(2)
}
private let calls = arguments.count > 2 ? Int(arguments[2]) ?? 100_000 : 100_000
private let tasks = arguments.count > 3 ? Int(arguments[3]) ?? 20 : 20
private let loops = LoopGroup(count: 1)
private let channel = try HTTP2Channel(target: try Target(arguments[1]), loops: loops)
try await makeCalls(calls / 10, tasks, over: channel)
private let before = processSeconds()
private let start = ContinuousClock.now
try await makeCalls(calls, tasks, over: channel)
private let microseconds = (processSeconds() - before) * 1e6 / Double(calls)
private let elapsed = start.duration(to: .now)
print(
  "\(calls) calls by \(tasks) tasks in \(elapsed): client CPU per call "
    + "\((microseconds * 100).rounded() / 100) µs")
await channel.shutdown()
await loops.stop()
