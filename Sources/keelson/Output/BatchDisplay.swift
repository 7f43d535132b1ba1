import Glibc
import Synchronization

/// Shows how far a batch is, on standard error: a bar that is written over on a terminal, a line
/// every few seconds elsewhere.
final class BatchDisplay: Sendable {
  private static let barInterval: Duration = .milliseconds(100)
  private static let lineInterval: Duration = .seconds(5)

  private let began = ContinuousClock.now
  let isTerminal = isatty(STDERR_FILENO) == 1
  private let hasBar = Mutex(false)

  /// Shows what there is now, again and again until the task is cancelled.
  func run(_ progress: @Sendable () -> BatchProgress) async {
    while true {
      do {
        try await Task.sleep(for: isTerminal ? Self.barInterval : Self.lineInterval)
      } catch {
        return
      }
      show(progress())
    }
  }

  private func show(_ progress: BatchProgress) {
    let elapsed = ContinuousClock.now - began
    guard isTerminal else { return Output.note(progress.text(elapsed: elapsed)) }
    hasBar.withLock { $0 = true }
    write("\r\u{1B}[K" + progress.bar(columns: Self.columns, elapsed: elapsed))
  }

  /// Takes the bar away.
  func finish() {
    let had = hasBar.withLock { has in
      defer { has = false }
      return has
    }
    if had { write("\r\u{1B}[K") }
  }

  private func write(_ text: String) {
    _ = Output.write(Array(text.utf8), to: STDERR_FILENO)
  }

  /// How wide the terminal is.
  private static var columns: Int {
    var size = winsize()
    guard unsafe ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
      return 80
    }
    return Int(size.ws_col)
  }
}
