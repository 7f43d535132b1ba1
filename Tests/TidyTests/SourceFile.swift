/// One file of the repository.
struct SourceFile {
  enum Kind {
    case swift, c, proto, python, shell, markdown, other
  }

  /// From the repository's folder, with `/`.
  let path: String
  let kind: Kind
  let text: SourceText

  init(path: String, text: String) {
    self.path = path
    self.kind = Self.kind(path: path, text: text)
    switch kind {
    case .python, .shell: self.text = SourceText(text, language: .hashes)
    case .swift, .c, .proto, .markdown, .other: self.text = SourceText(text)
    }
  }

  private static func kind(path: String, text: String) -> Kind {
    if path.hasSuffix(".swift") { return .swift }
    if [".c", ".h", ".cc", ".cpp"].contains(where: path.hasSuffix) { return .c }
    if path.hasSuffix(".proto") { return .proto }
    if path.hasSuffix(".py") { return .python }
    if path.hasSuffix(".sh") { return .shell }
    if path.hasSuffix(".md") { return .markdown }
    let first = text.prefix { $0 != "\n" }
    guard first.hasPrefix("#!") else { return .other }
    if first.contains("python") { return .python }
    return first.hasSuffix("sh") ? .shell : .other
  }

  var lines: [SourceText.Line] { text.lines }

  /// Whether people write code in it.
  var isCode: Bool { kind != .other && kind != .markdown }

  /// Whether `codegen/generate` wrote it.
  var isGenerated: Bool {
    path.contains("/Generated/") || path.hasPrefix("Sources/KeelsonProtoC/")
  }

  /// `Sources`, `Tests`, `codegen` ...
  var topFolder: String { String(path.prefix { $0 != "/" }) }

  var isTest: Bool { topFolder == "Tests" }

  var name: String { path.split(separator: "/").last.map(String.init) ?? path }

  /// The name without its last ending.
  var stem: String {
    guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
    return String(name[..<dot])
  }

  /// The target it belongs to: the folder below Sources or Tests, whichever the file is in.
  var target: String? {
    let parts = path.split(separator: "/").map(String.init)
    guard let folder = parts.firstIndex(where: { $0 == "Sources" || $0 == "Tests" }),
      parts.count > folder + 2
    else { return nil }
    return parts[folder + 1]
  }

  /// Whether one of the words stands in a comment on the line, or on the lines around it that
  /// belong to the same statement.
  func comment(near index: Int, says words: [String] = []) -> Bool {
    var near: [String] = [lines[index].comment]
    // The comment block that ends at most two lines above.
    var above = index - 1
    while above >= 0, index - above <= 2, !lines[above].isCommentOnly {
      if lines[above].whole.isBlank { above = -1 } else { above -= 1 }
    }
    while above >= 0, lines[above].isCommentOnly {
      near.append(lines[above].comment)
      above -= 1
    }
    // The comment block that begins on the next line.
    var below = index + 1
    while below < lines.count, lines[below].isCommentOnly {
      near.append(lines[below].comment)
      below += 1
    }
    let said = near.joined(separator: " ").lowercased()
    return words.isEmpty ? !said.isBlank : words.contains(where: said.contains)
  }
}
