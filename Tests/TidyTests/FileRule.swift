import Testing

/// A rule that can be checked one file at a time.
struct FileRule: CustomTestStringConvertible {
  let name: String
  let applies: @Sendable (SourceFile) -> Bool
  let check: @Sendable (SourceFile) -> [Violation]

  var testDescription: String { name }

  static let all: [FileRule] = [
    .length, .columns, .noPostponedWork, .names, .mainType, .guardedSendable,
    .noPrinting, .explainedTraps, .noSleepsInTests, .protoComments, .links,
  ]

  /// A rule about single lines: the check says what is wrong with a line, or nil.
  init(
    _ name: String, applies: @escaping @Sendable (SourceFile) -> Bool,
    line check: @escaping @Sendable (SourceFile, Int) -> String?
  ) {
    self.name = name
    self.applies = applies
    self.check = { file in
      file.lines.indices.compactMap { index in
        check(file, index).map { Violation(path: file.path, line: index + 1, message: $0) }
      }
    }
  }

  /// A rule about a whole file: the check says what is wrong with it, or nil.
  init(
    _ name: String, applies: @escaping @Sendable (SourceFile) -> Bool,
    file check: @escaping @Sendable (SourceFile) -> String?
  ) {
    self.name = name
    self.applies = applies
    self.check = { file in
      check(file).map { [Violation(path: file.path, line: nil, message: $0)] } ?? []
    }
  }

  init(
    _ name: String, applies: @escaping @Sendable (SourceFile) -> Bool,
    check: @escaping @Sendable (SourceFile) -> [Violation]
  ) {
    self.name = name
    self.applies = applies
    self.check = check
  }
}
