import Foundation
import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonWorker

/// Real programs, all of them shells.
@Suite(.timeLimit(.minutes(5))) struct ChildProcessTests {
  /// What a program has written.
  private final class Written: Sendable {
    private let bytes = Mutex<[ChildProcess.Stream: [UInt8]]>([:])
    private let awaited: String
    let hasArrived = Signal<Void>()

    /// - Parameter awaited: a text of the output that is waited for.
    init(awaiting awaited: String = "up") {
      self.awaited = awaited
    }

    func append(_ stream: ChildProcess.Stream, _ piece: [UInt8]) {
      bytes.withLock { $0[stream, default: []] += piece }
      if text(.output).contains(awaited) { hasArrived.send() }
    }

    func text(_ stream: ChildProcess.Stream) -> String {
      String(decoding: bytes.withLock { $0[stream] ?? [] }, as: UTF8.self)
    }
  }

  private func program(
    _ script: String, input: String? = nil, folder: String = "/"
  ) -> ChildProcess.Program {
    .init(
      path: "/bin/sh", arguments: ["-c", script], environment: ["A": "b"], workingFolder: folder,
      input: input.map { Array($0.utf8) })
  }

  private func run(
    _ program: ChildProcess.Program, _ written: Written = Written(),
    timeout: Duration = .seconds(60), grace: Duration = .seconds(60)
  ) async throws -> ChildProcess.Outcome {
    try await ChildProcess.run(program, timeout: timeout, grace: grace) { written.append($0, $1) }
  }

  @Test func itsOutputAndItsEndAreHeard() async throws {
    let written = Written()
    let outcome = try await run(program("echo out; echo err >&2; exit 7"), written)
    #expect(outcome == .init(end: .exited(7), reason: nil))
    #expect(written.text(.output) == "out\n" && written.text(.error) == "err\n")
    #expect(try await run(program("kill -KILL $$")).end == .signalled(SIGKILL))
  }

  @Test func allOfALargeOutputIsHeard() async throws {
    let written = Written()
    let outcome = try await run(program("seq 1 200000; seq 1 200000 >&2"), written)
    #expect(outcome.end == .exited(0))
    #expect(written.text(.output).hasSuffix("\n200000\n"))
    #expect(written.text(.output) == written.text(.error))
  }

  @Test func itGetsItsInputAndNothingElse() async throws {
    let written = Written()
    let large = String(repeating: "x", count: 1 << 20)
    _ = try await run(program("wc -c; ls /proc/self/fd; pwd; echo $A", input: large), written)
    #expect(written.text(.output) == "1048576\n0\n1\n2\n3\n/\nb\n")
    let none = Written()
    _ = try await run(program("wc -c", folder: "/tmp"), none)
    #expect(none.text(.output) == "0\n")
  }

  @Test func noSignalIsBlockedOrIgnored() async throws {
    // As the worker itself does.
    signal(SIGPIPE, SIG_IGN)
    let written = Written()
    _ = try await run(program("grep -E '^Sig(Blk|Ign)' /proc/self/status"), written)
    let masks = written.text(.output).split(separator: "\n").map { line in
      UInt64(line.split(separator: "\t").last ?? "", radix: 16)
    }
    // Of 32 and 33, glibc's own, every program that posix_spawn starts ignores both.
    #expect(masks.map { $0.map { $0 & 0x7FFF_FFFF } } == [0, 0])
  }

  @Test func aTaskThatIsCancelledEndsItPolitely() async throws {
    let written = Written()
    let child = program("trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.02; done")
    let task = Task { try await run(child, written) }
    await written.hasArrived.wait()
    task.cancel()
    #expect(try await task.value == .init(end: .exited(3), reason: .cancelled))
    #expect(written.text(.output) == "up\ntold\n")
  }

  @Test func whatDoesNotListenIsKilled() async throws {
    let written = Written()
    let child = program("trap '' TERM; echo up; while :; do sleep 0.02; done")
    let task = Task { try await run(child, written, grace: .milliseconds(50)) }
    await written.hasArrived.wait()
    task.cancel()
    #expect(try await task.value == .init(end: .signalled(SIGKILL), reason: .cancelled))
  }

  @Test func whatTakesTooLongIsEnded() async throws {
    let outcome = try await run(program("exec sleep 600"), timeout: .milliseconds(50))
    #expect(outcome == .init(end: .signalled(SIGTERM), reason: .timeout))
  }

  @Test func aTaskThatIsCancelledAlreadyStartsNothing() async throws {
    let written = Written()
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await run(program("echo up"), written)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(!written.hasArrived.hasHappened)
  }

  /// A process in the background keeps the output open, and would be waited for for ever.
  @Test func whatItLeavesBehindEndsWithIt() async throws {
    let written = Written()
    let outcome = try await run(program("sleep 600 & echo $!"), written)
    #expect(outcome.end == .exited(0))
    let left = try #require(Int32(written.text(.output).dropLast()))
    #expect(try await gone(left))
  }

  /// Waits until a process is gone, or a zombie that somebody else has to wait for.
  private func gone(_ process: Int32) async throws -> Bool {
    for _ in 0..<1_000 {
      let status = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
      guard let status, !status.contains(") Z ") else { return true }
      _ = try await run(program("sleep 0.01"))
    }
    return false
  }

  /// One that has left the group holds the output open; its parent's end counts all the same.
  @Test func whatHasLeftTheGroupIsNotWaitedFor() async throws {
    let written = Written()
    let outcome = try await run(
      program("setsid --fork sleep 20; echo up; exit 4"), written)
    #expect(outcome.end == .exited(4) && written.hasArrived.hasHappened)
  }

  @Test(arguments: [
    ("/nowhere", "/", "/nowhere: No such file"), ("/etc", "/", "/etc: Permission denied"),
    ("/bin/sh", "/nowhere", "its folder /nowhere: No such file"),
  ])
  func whatCannotBeStartedSaysWhy(_ path: String, _ folder: String, _ why: String) async throws {
    let program = ChildProcess.Program(
      path: path, arguments: [], environment: [:], workingFolder: folder)
    let error = await #expect(throws: RPCError.self) { try await run(program) }
    #expect(error?.message.contains(why) == true)
  }

  @Test func manyComeAndGoAtATime() async throws {
    let ends = try await withThrowingTaskGroup(of: ChildProcess.Outcome.self) { group in
      for number in 0..<200 {
        let child = program(
          number % 2 == 0 ? "echo x; exit 5" : "trap 'exit 6' TERM; kill $$; exit 7")
        group.addTask { try await run(child) }
      }
      return try await group.reduce(into: [ChildProcess.End: Int]()) { $0[$1.end, default: 0] += 1 }
    }
    #expect(ends == [.exited(5): 100, .exited(6): 100])
  }

  @Test func cancellingAtAnyTimeEndsThem() async throws {
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<100 {
        let child = program("exec sleep 600")
        group.addTask {
          let task = Task { try await run(child) }
          for _ in 0..<number { await Task.yield() }
          task.cancel()
          let outcome = try? await task.value
          #expect(outcome == nil || outcome?.reason == .cancelled)
        }
      }
    }
  }

  @Test func noDescriptorIsLeftOpen() async throws {
    func count() throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
    }
    _ = try await run(program("exit 0"))
    // Other tests of this process have descriptors of their own: many more runs than those.
    let before = try count()
    for _ in 0..<300 { _ = try await run(program("exit 0", input: "x")) }
    #expect(try count() < before + 200)
  }
}
