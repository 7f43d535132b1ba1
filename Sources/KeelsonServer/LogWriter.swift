import Dispatch
import Glibc
import KeelsonCore
import Synchronization

/// Writes log lines to standard error on a thread of its own, so that a loop never waits for
/// whoever reads the log. When the reader is too slow, lines are dropped and counted.
final class LogWriter: Sendable {
  /// How many bytes may wait to be written.
  static let waitingBytes = 4 << 20

  private struct State {
    var waiting: [UInt8] = []
    var isScheduled = false
    var dropped = 0
  }

  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "keelson.log")

  /// A logger that writes here: aligned text on a terminal, one JSON object a line elsewhere.
  func logger(component: String, minimum: Logger.Level) -> Logger {
    Logger(component: component, minimum: minimum, humanReadable: isatty(STDERR_FILENO) == 1) {
      self.write($0)
    }
  }

  /// Waits until everything logged so far is written.
  func flush() {
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
      let (bytes, dropped) = state.withLock { state in
        defer {
          state.waiting.removeAll()
          state.dropped = 0
          state.isScheduled = false
        }
        return (state.waiting, state.dropped)
      }
      if bytes.isEmpty { return }
      Self.writeAll(bytes)
      if dropped > 0 {
        Self.writeAll(Array("keelson: \(dropped) log lines were dropped.\n".utf8))
      }
    }
  }

  private static func writeAll(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
      var offset = 0
      while offset < buffer.count {
        let count = unsafe Glibc.write(
          STDERR_FILENO, buffer.baseAddress! + offset, buffer.count - offset)
        if count > 0 {
          offset += count
        } else if errno != EINTR {
          return
        }
      }
    }
  }
}
