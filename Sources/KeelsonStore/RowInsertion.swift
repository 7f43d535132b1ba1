/// Statements that insert many rows each, of few sizes so that few of them are kept prepared.
struct RowInsertion: Sendable {
  /// SQLite takes 32,766 parameters and PostgreSQL 65,535.
  static let sizes = [100, 32, 8, 2, 1]

  private let sizes: [Int]
  private let texts: [Int: String]

  /// - Parameters:
  ///   - columns: their names, separated by commas.
  ///   - isNumbered: whether parameters are `$1`, `$2`, ...; else `?`, which only SQLite has. It looks
  ///     for each name among all before, so many names take it seconds.
  init(into table: String, columns: String, sizes: [Int] = Self.sizes, isNumbered: Bool = true) {
    self.sizes = sizes
    let width = columns.split(separator: ",").count
    texts = Dictionary(
      uniqueKeysWithValues: sizes.map { size in
        let rows = (0..<size).map { row in
          let places = (1...width).map { isNumbered ? "$\(row * width + $0)" : "?" }
          return "(" + places.joined(separator: ", ") + ")"
        }
        return (
          size, "INSERT INTO \(table) (\(columns)) VALUES " + rows.joined(separator: ", ")
        )
      })
  }

  /// - Parameter values: those of one row, in the order of the columns.
  func statements<Element>(
    _ elements: [Element], values: (Element) -> [SQLValue]
  ) -> [SQLStatement] {
    var statements: [SQLStatement] = []
    var rest = elements[...]
    for size in sizes {
      while rest.count >= size {
        statements.append(SQLStatement(texts[size] ?? "", rest.prefix(size).flatMap(values)))
        rest = rest.dropFirst(size)
      }
    }
    return statements
  }
}
