import Dispatch
import Glibc
package import KeelsonCore
import Synchronization

/// Writes log lines to standard error on a thread of its own, so that a loop never waits for
/// whoever reads the log. When the reader is too slow, lines are dropped and counted.
package final class LogWriter: Sendable {
  /// How many bytes may wait to be written.
  static let waitingBytes = 4 << 20

  private struct State {
    var waiting: [UInt8] = []
    var isScheduled = false
    var dropped = 0
  }

  private let descriptor: Int32
  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "keelson.log")

  package init(descriptor: Int32 = STDERR_FILENO) {
    // Writing to a reader who has gone then fails, with EPIPE, instead of ending the process.
    signal(SIGPIPE, SIG_IGN)
    self.descriptor = descriptor
  }

  /// A logger that writes here: aligned text on a terminal, one JSON object a line elsewhere.
  package func logger(component: String, minimum: Logger.Level) -> Logger {
    Logger(component: component, minimum: minimum, humanReadable: isatty(descriptor) == 1) {
      self.write($0)
    }
  }

  /// Waits until everything logged so far is written.
  package func flush() {
    queue.sync { self.drain() }
  }

  private func write(_ line: String) {
    let mustSchedule = state.withLock { state in
      guard state.waiting.count + line.utf8.count < LogWriter.waitingBytes else {
        state.dropped += 1
        return false
      }
      state.waiting.append(contentsOf: line.utf8)
      state.waiting.append(0x0A)
      defer { state.isScheduled = true }
      return !state.isScheduled
    }
    if mustSchedule { queue.async { self.drain() } }
  }

  private func drain() {
    while true {
      let bytes = state.withLock { state in
        defer {
          state.waiting.removeAll()
          state.isScheduled = false
        }
        return state.waiting
      }
      if bytes.isEmpty { return }
      let lost = writeAll(bytes)
      let dropped = state.withLock { state in
        defer { state.dropped = 0 }
        return state.dropped + lost
      }
      guard dropped > 0 else { continue }
      if writeAll(Array("keelson: \(dropped) log lines were dropped.\n".utf8)) > 0 {
        // Said with the next lines that can be written.
        state.withLock { $0.dropped += dropped }
      }
    }
  }

  /// Writes lines, however long the reader takes.
  ///
  /// - Returns: how many lines could not be written, or not to their end.
  private func writeAll(_ bytes: [UInt8]) -> Int {
    bytes.withUnsafeBytes { buffer in
      var offset = 0
      while offset < buffer.count {
        let count = unsafe Glibc.write(
          descriptor, buffer.baseAddress! + offset, buffer.count - offset)
        if count > 0 {
          offset += count
        } else if errno == EAGAIN {
          // Somebody made the pipe non-blocking: they share it.
          var readiness = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&readiness, 1, -1)
        } else if errno != EINTR {
          return buffer[offset...].count { $0 == 0x0A }
        }
      }
      return 0
    }
  }
}
