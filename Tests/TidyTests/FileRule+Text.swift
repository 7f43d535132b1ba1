import Foundation

// Rules about size, names and words.

extension FileRule {
  /// A file that is longer holds more than one thing. Protocol files are apart: one service is
  /// one file.
  static let length = FileRule(
    "files stay under 500 lines",
    applies: { $0.isCode && $0.kind != .proto && !$0.isGenerated },
    file: { file in
      file.lines.count > 500 ? "\(file.lines.count) lines, at most 500: take it apart" : nil
    })

  static let columns = FileRule(
    "lines stay within 100 columns", applies: { $0.isCode && !$0.isGenerated && $0.kind != .swift },
    line: { file, index in
      let columns = file.lines[index].whole.count
      return columns > 100 ? "\(columns) columns, at most 100" : nil
    })

  /// What is not done is an issue, not a comment.
  static let noPostponedWork = FileRule(
    "no comment puts work off", applies: { $0.isCode && !$0.isGenerated },
    line: { file, index in
      let comment = file.lines[index].comment
      guard !comment.isEmpty else { return nil }
      let marks = [#/\bTODO\b/#, #/\bFIXME\b/#, #/\bXXX\b/#, #/\bHACK\b/#, #/(?i)\bfor now\b/#]
      guard let mark = marks.lazy.compactMap({ comment.firstMatch(of: $0) }).first else {
        return nil
      }
      return "\"\(mark.output)\": do it, or open an issue and describe what is"
    })

  /// Names that say nothing, and so gather everything.
  static let names = FileRule(
    "names say what is inside", applies: { $0.isCode && !$0.isGenerated },
    check: { file in
      let vague =
        #/(?i)^(utils?|utilit(y|ies)|helpers?|managers?|common|misc|stuff|new|deprecated)$/#
      let vagueEnd = #/(Utils?|Utilities|Helpers?|Managers?)$/#
      var violations: [Violation] = []
      for part in file.path.split(separator: "/").map(String.init) {
        let name = part == file.name ? file.stem : part
        if name.contains(vague) || name.contains(vagueEnd) {
          violations.append(
            Violation(path: file.path, line: nil, message: "\"\(name)\" says nothing"))
        }
      }
      guard file.kind == .swift else { return violations }
      for (index, line) in file.lines.enumerated() {
        for type in line.code.declaredTypes where type.contains(vagueEnd) {
          violations.append(
            Violation(path: file.path, line: index + 1, message: "\"\(type)\" says nothing"))
        }
      }
      return violations
    })

  /// A file with one type has its name: `Type.swift`, or `Type+Aspect.swift` when it extends one
  /// from elsewhere. A family of several small types is named for what they have in common, and a
  /// file of free functions for what they do.
  static let mainType = FileRule(
    "a file is named after its main type",
    applies: {
      $0.kind == .swift && !$0.isGenerated && !$0.isTest
        && !["main.swift", "Package.swift"].contains($0.name)
    },
    file: { file in
      let named = String(file.stem.prefix { $0 != "+" })
      let topLevel = file.lines.filter { $0.code.first?.isWhitespace == false }
      let declared = Set(topLevel.flatMap { $0.code.declaredTypes })
      let extended = Set(topLevel.flatMap { $0.code.extendedTypes })
      let types = declared.isEmpty ? extended : declared
      guard types.count == 1, let type = types.first else { return nil }
      let isNamed = declared.union(extended).contains {
        $0.split(separator: ".").contains { $0 == named }
      }
      // Wrappers.swift holds what is common to wrappers: ScalarWrapper.
      let isFamily = named.hasSuffix("s") && type.contains(named.dropLast())
      return isNamed || isFamily ? nil : "its one type is \(type)"
    })
}

extension String {
  /// The types that a line of Swift declares.
  var declaredTypes: [String] {
    guard !isBlank else { return [] }
    let declaration =
      #/\b(?:struct|class|enum|protocol|actor|typealias|macro)\s+`?([A-Za-z_]\w*)/#
    return matches(of: declaration).map { String($0.output.1) }
  }

  /// The types that a line of Swift extends, with the types they are in.
  var extendedTypes: [String] {
    guard contains("extension") else { return [] }
    return matches(of: #/\bextension\s+([A-Za-z_][\w.`]*)/#)
      .map { $0.output.1.filter { $0 != "`" } }
  }
}
