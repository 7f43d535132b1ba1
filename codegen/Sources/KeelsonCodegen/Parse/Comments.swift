/// The comments of a .proto file, found by the path of the element they stand before.
///
/// A path is the one of SourceCodeInfo.Location: field numbers of the descriptors and indexes in
/// turn, `[4, 0, 2, 1]` for the second field of the first message.
struct Comments {
  private var lines: [[Int]: [String]] = [:]

  init() {}

  init(sourceCodeInfo bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      guard number == 1 else { continue }
      var path: [Int] = []
      var before: String?
      var after: String?
      var location = WireReader(value.bytes)
      while let (number, value) = try location.next() {
        switch number {
        case 1: path = try WireReader.packed(value.bytes)
        case 3: before = value.string
        case 4: after = value.string
        default: break
        }
      }
      if let comment = before ?? after { self[path] = Comments.lines(of: comment) }
    }
  }

  /// The comment's lines at a path; none when there is none.
  subscript(path: [Int]) -> [String] {
    get { lines[path] ?? [] }
    set { lines[path] = newValue }
  }

  /// The lines of a comment, without the space that follows `//` and the empty lines around.
  private static func lines(of text: String) -> [String] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      var line = line
      if line.first == " " { line = line.dropFirst() }
      while line.last == " " { line = line.dropLast() }
      return String(line)
    }
    while lines.last?.isEmpty == true { lines.removeLast() }
    while lines.first?.isEmpty == true { lines.removeFirst() }
    return lines
  }
}
