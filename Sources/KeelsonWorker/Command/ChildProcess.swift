import CLinuxProcess
import Glibc
import KeelsonCore
import KeelsonTransport
import Synchronization

/// A program that runs in a process and a process group of its own. No thread waits for it: its end
/// and its output are events of a loop.
///
/// It gets no descriptor but its standard three, no variable but those that are given, no signal
/// blocked or ignored. What is left of its group when it ends is killed.
///
/// `@unchecked Sendable`: confined to the loop of all children.
@safe final class ChildProcess: @unchecked Sendable {
  struct Program: Sendable {
    var path: String
    var arguments: [String]
    var environment: [String: String]
    var workingFolder: String
    /// Its standard input; nil: nothing.
    var input: [UInt8]?
  }

  enum End: Sendable, Hashable {
    case exited(Int)
    case signalled(Int32)
  }

  /// Why it was told to end.
  enum Reason: Sendable, Hashable {
    case timeout
    case cancelled
  }

  enum Stream: Sendable { case output, error }

  /// How it came to its end.
  struct Outcome: Sendable, Hashable {
    var end: End
    /// nil when it ended by itself.
    var reason: Reason?
  }

  /// Where all children live.
  private static let loop: Loop = {
    let loop = Loop()
    loop.start(name: "keelson-children")
    return loop
  }()

  /// A descriptor that is watched, and closed here.
  private struct Watched {
    var stream: Stream?
    var descriptor: Int32
    var watch: DescriptorWatch
  }

  private let grace: Duration
  private let received: @Sendable (Stream, [UInt8]) -> Void
  private var process: pid_t = 0
  private var watched: [Watched] = []
  private var timers: [Loop.Timer] = []
  private var reason: Reason?
  private var outcome: Outcome?
  private var waiter: CheckedContinuation<Outcome, any Error>?

  /// Bytes that are read at once, and after the end at most.
  private static let pieceBytes = 64 << 10
  private static let lastBytes = 1 << 20

  /// - Parameters:
  ///   - grace: how long it may go on after SIGTERM, before SIGKILL.
  ///   - received: gets what it writes, a piece after the other, on the loop's thread.
  private init(grace: Duration, _ received: @escaping @Sendable (Stream, [UInt8]) -> Void) {
    self.grace = grace
    self.received = received
  }

  /// Runs a program to its end. When the task is cancelled, or the time is over, its group is sent
  /// SIGTERM, and SIGKILL after the grace time.
  ///
  /// - Throws: ``RPCError`` when it cannot be started.
  static func run(
    _ program: Program, timeout: Duration, grace: Duration,
    _ received: @escaping @Sendable (Stream, [UInt8]) -> Void
  ) async throws -> Outcome {
    let child = ChildProcess(grace: grace, received)
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        loop.execute { child.begin(program, timeout, continuation) }
      }
    } onCancel: {
      loop.execute { child.stop(.cancelled) }
    }
  }

  // MARK: On the loop

  private func begin(
    _ program: Program, _ timeout: Duration, _ continuation: CheckedContinuation<Outcome, any Error>
  ) {
    guard reason == nil else { return continuation.resume(throwing: CancellationError()) }
    do throws(RPCError) {
      try start(program)
    } catch {
      return continuation.resume(throwing: error)
    }
    waiter = continuation
    timers.append(Self.loop.schedule(after: timeout) { self.stop(.timeout) })
  }

  private func start(_ program: Program) throws(RPCError) {
    let output = try Self.pipe()
    let error: (reading: Int32, writing: Int32)
    do throws(RPCError) { error = try Self.pipe() } catch let failure {
      close(output.reading)
      close(output.writing)
      throw failure
    }
    do throws(RPCError) {
      defer {
        close(output.writing)
        close(error.writing)
      }
      process = try ChildSpawn(program).spawn(output: output.writing, error: error.writing)
    } catch let failure {
      close(output.reading)
      close(error.reading)
      throw failure
    }
    ChildGroups.shared.add(process)
    do throws(RPCError) {
      var isTaken = false
      defer { if !isTaken { close(error.reading) } }
      try watch(output.reading, .output)
      isTaken = true
      try watch(error.reading, .error)
      let end = keelson_process_descriptor(process)
      guard end >= 0 else {
        throw RPCError(.resourceExhausted, "its end cannot be watched (\(Self.lastError))")
      }
      try watch(end, nil)
    } catch let failure {
      // Nobody would hear of its end.
      finish()
      throw failure
    }
  }

  /// Takes a descriptor over: it is closed with its watch, or here when it cannot be watched.
  ///
  /// - Parameter stream: what is read there; nil: it is readable once the program has ended.
  private func watch(_ descriptor: Int32, _ stream: Stream?) throws(RPCError) {
    do throws(SocketError) {
      let watch = try DescriptorWatch(fileDescriptor: descriptor, on: Self.loop) { _ in
        if let stream { self.read(stream, descriptor) } else { self.finish() }
      }
      watched.append(Watched(stream: stream, descriptor: descriptor, watch: watch))
      watch.wait(for: .readable)
    } catch {
      close(descriptor)
      throw RPCError(.resourceExhausted, "it cannot be watched (\(error))")
    }
  }

  /// - Returns: how many bytes there were; 0 when there are none now, or never any more.
  @discardableResult
  private func read(_ stream: Stream, _ descriptor: Int32) -> Int {
    var bytes = [UInt8](repeating: 0, count: Self.pieceBytes)
    let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
    guard count > 0 else {
      // At its end it would be readable for ever.
      if count == 0, let index = watched.firstIndex(where: { $0.descriptor == descriptor }) {
        let ended = watched.remove(at: index)
        ended.watch.close()
        close(ended.descriptor)
      }
      return 0
    }
    received(stream, Array(bytes[..<count]))
    return count
  }

  private func stop(_ reason: Reason) {
    guard outcome == nil, self.reason == nil else { return }
    self.reason = reason
    guard process > 0 else { return }
    kill(-process, SIGTERM)
    timers.append(
      Self.loop.schedule(after: grace) {
        if self.outcome == nil { kill(-self.process, SIGKILL) }
      })
  }

  /// It has ended, or is to by SIGKILL.
  private func finish() {
    // One that ends because the worker exits has not ended as far as its job is concerned.
    guard outcome == nil, !ChildGroups.shared.isExiting else { return }
    // While it has not been waited for, nobody else has its number: the group is still its own.
    kill(-process, SIGKILL)
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
    ChildGroups.shared.remove(process)
    for case (let stream?, let descriptor) in watched.map({ ($0.stream, $0.descriptor) }) {
      // A process that has left the group may hold the pipe open, and write for ever.
      var rest = Self.lastBytes
      while rest > 0 {
        let count = read(stream, descriptor)
        guard count > 0 else { break }
        rest -= count
      }
    }
    for each in watched {
      each.watch.close()
      close(each.descriptor)
    }
    watched = []
    for timer in timers { Self.loop.cancel(timer) }
    timers = []
    let signal = status & 0x7F
    let ended = Outcome(
      end: signal == 0 ? .exited(Int(status >> 8) & 0xFF) : .signalled(signal), reason: reason)
    outcome = ended
    waiter?.resume(returning: ended)
    waiter = nil
  }

  // MARK: Calls of the system

  private static func pipe() throws(RPCError) -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    guard unsafe Glibc.pipe(&ends) == 0 else {
      throw RPCError(.resourceExhausted, "there is no pipe for its output (\(lastError))")
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    return (ends[0], ends[1])
  }

  static var lastError: String { unsafe String(cString: strerror(errno)) }
}

/// The process groups of commands that run. None outlives the worker, even when it is told to exit
/// at once.
final class ChildGroups: Sendable {
  static let shared = ChildGroups()

  private let groups = Mutex<Set<pid_t>>([])
  private let exiting = Atomic(false)

  private init() {
    atexit { ChildGroups.shared.killAll() }
  }

  func add(_ group: pid_t) { groups.withLock { _ = $0.insert(group) } }

  /// Called before the number can be another's.
  func remove(_ group: pid_t) { groups.withLock { _ = $0.remove(group) } }

  /// Whether the worker is on its way out.
  var isExiting: Bool { exiting.load(ordering: .acquiring) }

  private func killAll() {
    exiting.store(true, ordering: .releasing)
    for group in groups.withLock({ $0 }) { kill(-group, SIGKILL) }
  }
}
