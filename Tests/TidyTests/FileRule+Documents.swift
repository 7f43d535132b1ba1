import Foundation

extension FileRule {
  /// A link to a file of the repository leads to one that is there.
  static let links = FileRule(
    "links in the documents lead somewhere",
    applies: {
      $0.kind == .markdown && ($0.path == "README.md" || $0.topFolder == "docs")
    },
    check: { file in
      deadLinks(of: file) { SourceTree.current.exists($0) }
    })

  static func deadLinks(of file: SourceFile, exists: (String) -> Bool) -> [Violation] {
    let folder = file.path.split(separator: "/").dropLast().joined(separator: "/")
    var violations: [Violation] = []
    var isInExample = false
    for (index, line) in file.lines.enumerated() {
      if line.whole.hasPrefix("```") { isInExample.toggle() }
      guard !isInExample else { continue }
      for match in line.whole.matches(of: #/\]\(([^)\s]+)\)/#) {
        let target = String(match.output.1)
        // Elsewhere on the web, or within this page.
        if target.contains("://") || target.hasPrefix("mailto:") || target.hasPrefix("#") {
          continue
        }
        let path = String(target.prefix { $0 != "#" })
        if !exists(folder.isEmpty ? path : "\(folder)/\(path)") {
          violations.append(
            Violation(path: file.path, line: index + 1, message: "no such file: \(path)"))
        }
      }
    }
    return violations
  }
}

/// The decisions in docs/decisions.
enum Decisions {
  /// Named `NNNN-title.md`, each number once. A number is taken when a decision begins to be
  /// written, so there may be gaps until those before it are there.
  static func violations(names: [String]) -> [Violation] {
    var violations: [Violation] = []
    var numbers: [Int] = []
    for name in names.sorted() {
      if let match = name.wholeMatch(of: #/(\d{4})-[a-z0-9][a-z0-9-]*\.md/#),
        let number = Int(match.output.1)
      {
        numbers.append(number)
      } else {
        violations.append(
          Violation(
            path: "docs/decisions/\(name)", line: nil,
            message: "is not named NNNN-title.md, in small letters"))
      }
    }
    if Set(numbers).count != numbers.count || numbers.contains(0) {
      violations.append(
        Violation(
          path: "docs/decisions", line: nil,
          message: "numbers \(numbers) are not each there once, from 1 on"))
    }
    return violations
  }
}
