import Glibc

/// How far a long command has come: one line on standard error that is written over, on a terminal
/// only.
struct Progress {
  private static let barColumns = 30

  private let terminal: Terminal?
  private var lastShown: ContinuousClock.Instant?

  /// - Parameter isShown: whether it would disturb nothing else that is printed.
  init(isShown: Bool) {
    terminal = isShown ? Terminal(STDERR_FILENO) : nil
  }

  /// Says how far it is, ten times a second at most.
  ///
  /// - Parameter hasBar: whether a bar stands ahead of it.
  mutating func show(done: Int64, of total: Int64, _ detail: String, hasBar: Bool = false) {
    guard let terminal else { return }
    let now = ContinuousClock.now
    if let lastShown, now - lastShown < .milliseconds(100) { return }
    lastShown = now
    let percent = total > 0 ? min(100, done * 100 / total) : 0
    let filled = Int(percent) * Self.barColumns / 100
    let bar =
      hasBar
      ? "[\(String(repeating: "#", count: filled))"
        + "\(String(repeating: "-", count: Self.barColumns - filled))] " : ""
    terminal.redraw("\(bar)\(percent)%, \(detail)")
  }

  /// Takes the line away.
  mutating func finish() {
    guard lastShown != nil else { return }
    lastShown = nil
    terminal?.clearLine()
  }
}
