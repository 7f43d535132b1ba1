import KeelsonCore
import Testing

@testable import KeelsonWorker

@Suite struct OutputTests {
  @Test(arguments: ["", "abc", "a\"b\\c\n\u{1}", "äöü", "日本語", "👩‍👩‍👧", "\u{0}\u{0}\u{0}"])
  func anExcerptFitsIntoItsBytesOfJSON(_ text: String) {
    let bytes = Array(String(repeating: text, count: 20).utf8)
    for limit in [0, 1, 2, 3, 5, 7, 20, 100, 10_000] {
      for excerpt in [
        Excerpt.beginning(of: bytes, jsonBytes: limit), Excerpt.end(of: bytes, jsonBytes: limit),
      ] {
        // Cutting a character in two leaves one of three bytes in its place.
        #expect(JSONValue.string(excerpt.text).text.utf8.count - 2 <= limit)
      }
    }
    let whole = Excerpt.end(of: bytes, jsonBytes: 100_000)
    #expect(whole.text.utf8.count == bytes.count && whole.isWhole)
    #expect(Excerpt.beginning(of: bytes, jsonBytes: 100_000) == whole)
  }

  @Test func anExcerptIsTheBeginningOrTheEnd() {
    let bytes = Array("0123456789".utf8)
    #expect(Excerpt.beginning(of: bytes, jsonBytes: 4) == .init(text: "0123", isWhole: false))
    #expect(Excerpt.end(of: bytes, jsonBytes: 4) == .init(text: "6789", isWhole: false))
    #expect(Excerpt.end(of: bytes, jsonBytes: 10) == .init(text: "0123456789", isWhole: true))
    #expect(Excerpt.end(of: [0xFF, 0x41], jsonBytes: 10).text == "\u{FFFD}A")
  }

  @Test func aTailKeepsTheEndWhateverThePieces() {
    var generator = SystemRandomNumberGenerator()
    for limit in [0, 1, 10, 1_000] {
      var tail = OutputTail(limit: limit)
      var all: [UInt8] = []
      for _ in 0..<200 {
        let piece = (0..<Int.random(in: 0...50, using: &generator)).map { _ in
          UInt8.random(in: 0...255, using: &generator)
        }
        tail.append(piece)
        all += piece
        #expect(tail.bytes == Array(all.suffix(limit)) && tail.total == all.count)
      }
    }
  }

  @Test func linesAreMadeWhateverThePieces() {
    var lines = LogLines(prefix: "> ")
    lines.append(Array("one\ntw".utf8))
    #expect(lines.take() == ["> one"])
    lines.append(Array("o\r\n\nthr".utf8))
    lines.append(Array("ee".utf8))
    #expect(lines.take() == ["> two", "> "])
    #expect(lines.take() == [])
    #expect(lines.take(isOver: true) == ["> three"])
    #expect(lines.take(isOver: true) == [])
  }

  @Test func theNewestLinesAreKeptAndLongOnesCut() {
    var lines = LogLines(prefix: "stderr: ")
    lines.append(Array((0..<1_000).map { "\($0)\n" }.joined().utf8))
    let taken = lines.take()
    #expect(taken.count == 100)
    #expect(taken.first == "stderr: (900 lines are left out here)" && taken.last == "stderr: 999")
    lines.append([UInt8](repeating: 0x78, count: 1 << 20) + [0x0A])
    #expect(lines.take().map(\.utf8.count) == [1_024])
  }
}
