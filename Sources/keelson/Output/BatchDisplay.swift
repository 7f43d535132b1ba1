import Glibc
import Synchronization

/// Shows how far a batch is, on standard error: a bar that is written over on a terminal, a line
/// every few seconds elsewhere.
final class BatchDisplay: Sendable {
  private static let barInterval: Duration = .milliseconds(100)
  private static let lineInterval: Duration = .seconds(5)

  private let began = ContinuousClock.now
  private let terminal = Terminal(STDERR_FILENO)
  var isTerminal: Bool { terminal != nil }
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
    guard let terminal else { return Output.note(progress.text(elapsed: elapsed)) }
    hasBar.withLock { $0 = true }
    terminal.redraw(progress.bar(columns: terminal.size.columns, elapsed: elapsed))
  }

  /// Takes the bar away.
  func finish() {
    let had = hasBar.withLock { has in
      defer { has = false }
      return has
    }
    if had { terminal?.clearLine() }
  }
}
