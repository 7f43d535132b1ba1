import Glibc

/// How far a long command has come: one line on standard error that is written over, on a terminal
/// only.
struct Progress {
  private static let barColumns = 30

  private let isShown: Bool
  private var lastShown: ContinuousClock.Instant?

  /// - Parameter isShown: whether it would disturb nothing else that is printed.
  init(isShown: Bool) {
    self.isShown = isShown && isatty(STDERR_FILENO) == 1
  }

  /// Says how far it is, ten times a second at most.
  ///
  /// - Parameter hasBar: whether a bar stands ahead of it.
  mutating func show(done: Int64, of total: Int64, _ detail: String, hasBar: Bool = false) {
    guard isShown else { return }
    let now = ContinuousClock.now
    if let lastShown, now - lastShown < .milliseconds(100) { return }
    lastShown = now
    let percent = total > 0 ? min(100, done * 100 / total) : 0
    let filled = Int(percent) * Self.barColumns / 100
    let bar =
      hasBar
      ? "[\(String(repeating: "#", count: filled))"
        + "\(String(repeating: "-", count: Self.barColumns - filled))] " : ""
    write("\r\u{1B}[K\(bar)\(percent)%, \(detail)")
  }

  /// Takes the line away.
  func finish() {
    guard isShown, lastShown != nil else { return }
    write("\r\u{1B}[K")
  }

  private func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
