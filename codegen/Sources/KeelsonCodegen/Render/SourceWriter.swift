/// Gathers the lines of a source file, indented by two spaces a level.
struct SourceWriter {
  private(set) var text = ""
  private var level = 0

  /// Adds a line.
  mutating func line(_ text: String = "") {
    if !text.isEmpty {
      self.text += String(repeating: "  ", count: level) + text
    }
    self.text += "\n"
  }

  /// Adds a line, then those of the body one level deeper, then a closing one.
  mutating func block(_ head: String, close: String = "}", _ body: (inout SourceWriter) -> Void) {
    line(head)
    indented(body)
    line(close)
  }

  /// Adds the lines of the body one level deeper.
  mutating func indented(_ body: (inout SourceWriter) -> Void) {
    level += 1
    body(&self)
    level -= 1
  }

  /// Adds a doc comment; nothing when there are no lines.
  mutating func doc(_ lines: [String]) {
    for text in lines { line(text.isEmpty ? "///" : "/// \(text)") }
  }
}
