import Dispatch
import Glibc
import KeelsonCore
import Synchronization

/// Where the signal handler writes; -1 before there is a ``Termination``.
private let signalPipe = Atomic<Int32>(-1)

/// The signals that ask the process to stop, SIGTERM and SIGINT, and the one that asks it to read
/// its settings again, SIGHUP. One in the life of a process.
package final class Termination: Sendable {
  private let signals: AsyncStream<String>
  /// Each SIGHUP; of several that nobody has heard yet one is enough.
  let hangups: AsyncStream<Void>
  private let arrival: AsyncStream<String>.Continuation
  /// Never touched after init, only kept alive.
  nonisolated(unsafe) private let source: any DispatchSourceRead

  /// Takes the signals over at once. A second signal ends the process, for whoever does not want
  /// to wait for the drain.
  ///
  /// - Throws: `RPCError` when the system gives no pipe.
  package init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw RPCError(.resourceExhausted, "The system has no file descriptors left to start with.")
    }
    for end in ends {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    let (reading, writing) = (ends[0], ends[1])
    signalPipe.store(writing, ordering: .sequentiallyConsistent)
    let (signals, continuation) = AsyncStream.makeStream(of: String.self)
    self.signals = signals
    let (hangups, hangup) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.hangups = hangups
    arrival = continuation
    source = DispatchSource.makeReadSource(
      fileDescriptor: reading, queue: DispatchQueue(label: "keelson.signals"))
    let count = Mutex(0)
    source.setEventHandler {
      var number: UInt8 = 0
      while read(reading, &number, 1) == 1 {
        guard Int32(number) != SIGHUP else {
          hangup.yield()
          continue
        }
        let isSecond = count.withLock { count in
          count += 1
          return count > 1
        }
        if isSecond { exit(128 + Int32(number)) }
        continuation.yield(Int32(number) == SIGINT ? "SIGINT" : "SIGTERM")
      }
    }
    source.resume()
    // Writing to whoever has gone then fails, with EPIPE, instead of ending the process.
    signal(SIGPIPE, SIG_IGN)
    for number in [SIGTERM, SIGINT, SIGHUP] {
      // Only what is safe in a signal handler: one write to a pipe that never blocks.
      signal(number) { number in
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(signalPipe.load(ordering: .relaxed), &byte, 1)
      }
    }
  }

  /// Has the process drain and stop for a reason of its own.
  func request(_ reason: String) {
    arrival.yield(reason)
  }

  /// Waits for the first of the signals; its name.
  package func wait() async -> String {
    await signals.first { _ in true } ?? "SIGTERM"
  }
}
