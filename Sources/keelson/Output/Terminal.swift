import Glibc

/// A terminal on which what was written can be written over.
struct Terminal: Sendable {
  private let descriptor: Int32

  /// - Returns: nil when there is no terminal, or one that knows no escape codes (`TERM=dumb`).
  init?(_ descriptor: Int32) {
    guard isatty(descriptor) == 1, let kind = unsafe getenv("TERM") else { return nil }
    guard !["", "dumb"].contains(unsafe String(cString: kind)) else { return nil }
    self.descriptor = descriptor
  }

  /// How large it is now: 80 by 24 where it does not say.
  var size: (columns: Int, rows: Int) {
    var size = winsize()
    guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
    else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  /// Shows lines in place of all that is there. What does not fit is left out, so that nothing rolls
  /// away.
  ///
  /// - Throws: `RPCError` that says why it cannot be written.
  func draw(_ text: String) throws {
    let (columns, rows) = size
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(rows - 1)
    // Each line clears its own rest: a screen that is cleared first flickers.
    let drawn = lines.map { "\($0.cut(toColumns: columns - 1))\u{1B}[K\n" }.joined()
    guard write("\u{1B}[H\(drawn)\u{1B}[J") else {
      throw InputFile.failure("The output cannot be written")
    }
  }

  /// Shows a line in place of the one that the cursor is in.
  func redraw(_ line: String) {
    _ = write("\r\u{1B}[K" + line.printable().cut(toColumns: size.columns - 1))
  }

  /// Clears the line that the cursor is in.
  func clearLine() {
    redraw("")
  }

  private func write(_ text: String) -> Bool {
    Output.write(Array(text.utf8), to: descriptor)
  }
}

extension StringProtocol {
  /// As much of it from its beginning as has room. What is not ASCII counts twice: some of it takes
  /// two columns, and a line that is too short does less harm than one that wraps.
  fileprivate func cut(toColumns columns: Int) -> SubSequence {
    var room = columns
    return prefix { character in
      room -= character.isASCII ? 1 : 2
      return room >= 0
    }
  }
}
