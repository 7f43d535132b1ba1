/// A text taken apart into what is code and what is comment, line by line.
///
/// It knows Swift, C, C++ and protobuf (which comment alike), and Python and shell (which do). It
/// is no parser: it only keeps a rule about code from looking into comments and strings.
struct SourceText {
  struct Line {
    /// The whole line.
    var whole = ""
    /// The line without comments, each string literal emptied to `""`.
    var code = ""
    /// The line without comments, string literals kept.
    var source = ""
    /// What its comments say, without the comment marks.
    var comment = ""

    /// Whether nothing but a comment is on it.
    var isCommentOnly: Bool { !comment.isBlank && code.isBlank }
  }

  /// How comments are marked.
  enum Language {
    case slashes
    case hashes
    /// There are none: all is code.
    case none
  }

  let lines: [Line]

  init(_ text: String, language: Language = .slashes) {
    let wholes = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var lines: [Line]
    if language == .none {
      lines = wholes.map { Line(whole: $0, code: $0, source: $0) }
    } else {
      var reader = Reader(text: Array(text.unicodeScalars))
      if language == .slashes { reader.readSlashes() } else { reader.readHashes() }
      lines = reader.finish()
      for (index, whole) in wholes.enumerated() where index < lines.count {
        lines[index].whole = whole
      }
    }
    // The last newline ends a line rather than beginning another.
    if lines.last?.whole.isEmpty == true { lines.removeLast() }
    self.lines = lines
  }
}

extension StringProtocol {
  var isBlank: Bool { allSatisfy(\.isWhitespace) }
}

private struct Reader {
  let text: [Unicode.Scalar]
  var position = 0
  var lines: [SourceText.Line] = []
  var line = SourceText.Line()

  private enum Part { case code, string, comment }

  private func next(_ offset: Int = 0) -> Unicode.Scalar? {
    position + offset < text.count ? text[position + offset] : nil
  }

  private func has(_ mark: String) -> Bool {
    var offset = 0
    for scalar in mark.unicodeScalars {
      guard next(offset) == scalar else { return false }
      offset += 1
    }
    return true
  }

  private mutating func take(_ count: Int = 1, as part: Part) {
    for _ in 0..<count {
      guard let scalar = next() else { return }
      position += 1
      if scalar == "\n" {
        lines.append(line)
        line = SourceText.Line()
        continue
      }
      switch part {
      case .code:
        line.code.unicodeScalars.append(scalar)
        line.source.unicodeScalars.append(scalar)
      case .string: line.source.unicodeScalars.append(scalar)
      case .comment: line.comment.unicodeScalars.append(scalar)
      }
    }
  }

  private mutating func skip(_ count: Int) { position += count }

  mutating func finish() -> [SourceText.Line] {
    lines.append(line)
    return lines
  }

  // MARK: Swift, C, C++, protobuf

  mutating func readSlashes() {
    while position < text.count { readSlashesCode() }
  }

  /// Reads up to the end of the text or, inside a string's interpolation, to its closing bracket.
  private mutating func readSlashesCode(insideInterpolation: Bool = false) {
    var depth = 0
    while let scalar = next() {
      if has("//") {
        while next() == "/" { skip(1) }
        while let scalar = next(), scalar != "\n" { take(as: .comment) }
      } else if has("/*") {
        readBlockComment()
      } else if scalar == "\"" || (scalar == "#" && opensRawString()) {
        if !insideInterpolation { line.code += "\"\"" }
        readString()
      } else if insideInterpolation, scalar == ")", depth == 0 {
        take(as: .string)
        return
      } else {
        if scalar == "(" { depth += 1 }
        if scalar == ")" { depth -= 1 }
        take(as: insideInterpolation ? .string : .code)
      }
    }
  }

  private mutating func readBlockComment() {
    var depth = 0
    repeat {
      if has("/*") {
        depth += 1
        skip(2)
      } else if has("*/") {
        depth -= 1
        skip(2)
      } else {
        take(as: .comment)
      }
    } while depth > 0 && position < text.count
  }

  private func opensRawString() -> Bool {
    var offset = 0
    while next(offset) == "#" { offset += 1 }
    return next(offset) == "\""
  }

  private mutating func readString() {
    var pounds = 0
    while next() == "#" {
      pounds += 1
      take(as: .string)
    }
    let quote = has("\"\"\"") ? "\"\"\"" : "\""
    let mark = String(repeating: "#", count: pounds)
    let isOneLine = quote.count == 1
    take(quote.count, as: .string)
    while let scalar = next() {
      if has(quote + mark) {
        take(quote.count + pounds, as: .string)
        return
      }
      if isOneLine, scalar == "\n" { return }
      if has("\\" + mark + "(") {
        take(2 + pounds, as: .string)
        readSlashesCode(insideInterpolation: true)
      } else if has("\\" + mark) {
        take(2 + pounds, as: .string)
      } else {
        take(as: .string)
      }
    }
  }

  // MARK: Python, shell

  mutating func readHashes() {
    var before: Unicode.Scalar = "\n"
    while let scalar = next() {
      if scalar == "#", before == "\n" || before == " " || before == "\t" {
        while let scalar = next(), scalar != "\n" { take(as: .comment) }
        before = "\n"
        continue
      }
      before = scalar
      take(as: .code)
    }
  }
}
