/// A place where the repository breaks one of its rules.
struct Violation: CustomStringConvertible {
  var path: String
  /// Counted from 1; nil when the whole file is meant.
  var line: Int?
  var message: String

  var description: String {
    line.map { "\(path):\($0): \(message)" } ?? "\(path): \(message)"
  }
}

extension [Violation] {
  /// One a line, for a test's message.
  var report: String { map { "\n  \($0)" }.joined() }
}
