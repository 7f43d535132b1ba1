/// Statements that insert many rows each, of few sizes so that few of them are kept prepared.
struct RowInsertion: Sendable {
  /// SQLite takes 32,766 parameters and PostgreSQL 65,535. What guards a table costs SQLite some time
  /// for each statement, so there is a large one.
  static let sizes = [1_000, 100, 32, 8, 2, 1]

  private let texts: [Int: String]

  /// - Parameter columns: their names, separated by commas.
  init(into table: String, columns: String) {
    let width = columns.split(separator: ",").count
    texts = Dictionary(
      uniqueKeysWithValues: Self.sizes.map { size in
        let rows = (0..<size).map { row in
          "(" + (1...width).map { "$\(row * width + $0)" }.joined(separator: ", ") + ")"
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
    for size in Self.sizes {
      while rest.count >= size {
        statements.append(SQLStatement(texts[size] ?? "", rest.prefix(size).flatMap(values)))
        rest = rest.dropFirst(size)
      }
    }
    return statements
  }
}
