import Foundation

// Rules about what code does.

extension FileRule {
  /// Whoever promises the compiler thread safety says what keeps the promise.
  static let guardedSendable = FileRule(
    "unchecked Sendable names its guard", applies: { $0.kind == .swift && !$0.isGenerated },
    line: { file, index in
      guard file.lines[index].code.contains("@unchecked") else { return nil }
      let words = [
        "guard", "mutex", "lock", "loop", "thread", "queue", "immutable", "atomic", "confined",
        "owned", "owner",
      ]
      if file.comment(near: index, says: words) { return nil }
      return "say in a comment next to it what guards the state (a lock, a loop, immutability)"
    })

  /// Whether a file talks to a person at a terminal.
  private static func mayPrint(_ file: SourceFile) -> Bool {
    file.path.hasPrefix("Sources/keelson/") || file.path.contains("/keelson-codegen/")
      || ["Examples", "Benchmarks", "Fuzz"].contains(file.topFolder)
  }

  /// Libraries and services log, they do not print.
  static let noPrinting = FileRule(
    "only commands print", applies: { $0.kind == .swift && !mayPrint($0) },
    line: { file, index in
      let code = file.lines[index].code
      guard code.contains("("), code.contains(#/(^|[^\w.])(print|debugPrint|dump|NSLog)\(/#),
        !code.contains(#/\bfunc\s+(print|dump)\(/#)
      else { return nil }
      return "use the logger"
    })

  /// A trap is for what cannot happen, and a reader has to see why it cannot.
  static let explainedTraps = FileRule(
    "a trap says why it cannot happen",
    applies: { $0.kind == .swift && !$0.isGenerated && !$0.isTest },
    line: { file, index in
      let code = file.lines[index].code
      guard ["try!", "as!", "fatalError", "preconditionFailure"].contains(where: code.contains)
      else { return nil }
      // The message of a preconditionFailure is explanation enough.
      let trap =
        #/\btry!|\bas!\s|(?:^|[^.\w])(?:fatalError\(|preconditionFailure\(\))/#
      guard let found = code.firstMatch(of: trap),
        !file.comment(near: index)
      else { return nil }
      let name = found.output.trimmingPrefix { !$0.isLetter }
      return "\"\(name)\" without a comment that says why it cannot happen"
    })

  /// A test waits for a signal; a test that waits for time is slow or fails now and then. The
  /// interop server is none: it waits as long as its callers ask it to.
  static let noSleepsInTests = FileRule(
    "tests do not sleep",
    applies: {
      $0.isTest && $0.target != "InteropServer"
        && [.swift, .python, .shell, .c].contains($0.kind)
    },
    line: { file, index in
      let code = file.lines[index].code
      guard code.contains("sleep") else { return nil }
      let clocks = #/(?:\b(?:Task|Thread|time|asyncio)|[Cc]lock\(\))\.sleep\(/#
      let bare = #/(?:^|[^\w.])(?:nano|u)?sleep\(/#
      let command = #/^\s*sleep\s/#
      let sleeps =
        file.kind == .shell
        ? code.contains(command) : code.contains(clocks) || code.contains(bare)
      guard sleeps, !code.contains(#/\b(?:func|def)\s+sleep\(/#) else { return nil }
      return "wait for a signal instead"
    })
}
