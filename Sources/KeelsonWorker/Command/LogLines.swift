/// Makes lines of what a program writes, for the job's log. Of lines that nobody has taken yet the
/// newest are kept, as the server does with all of an attempt.
struct LogLines: Sendable {
  /// Lines that wait to be taken.
  static let maximumLines = 100
  /// Bytes of a line; the rest of it is left out.
  static let lineBytes = 1_024

  /// Stands before each line: `stderr: `.
  private let prefix: String
  private var waiting: [String] = []
  private var leftOut = 0
  /// The line that has no end yet.
  private var open: [UInt8] = []
  private var isOpen = false

  init(prefix: String = "") {
    self.prefix = prefix
  }

  mutating func append(_ bytes: some Collection<UInt8>) {
    for byte in bytes {
      guard byte != 0x0A else {
        end()
        continue
      }
      isOpen = true
      if open.count < Self.lineBytes - prefix.utf8.count { open.append(byte) }
    }
  }

  private mutating func end() {
    if open.last == 0x0D { open.removeLast() }
    waiting.append(prefix + String(decoding: open, as: UTF8.self))
    if waiting.count >= 2 * Self.maximumLines { drop() }
    open.removeAll(keepingCapacity: true)
    isOpen = false
  }

  private mutating func drop() {
    let surplus = max(0, waiting.count - Self.maximumLines)
    leftOut += surplus
    waiting.removeFirst(surplus)
  }

  /// The lines since the last time.
  ///
  /// - Parameter isOver: whether nothing follows, so that a line without an end is one.
  mutating func take(isOver: Bool = false) -> [String] {
    if isOver, isOpen { end() }
    drop()
    defer { (waiting, leftOut) = ([], 0) }
    guard leftOut > 0 else { return waiting }
    return ["\(prefix)(\(leftOut) lines are left out here)"] + waiting.dropFirst()
  }
}
