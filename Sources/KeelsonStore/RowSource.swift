/// Rows that a statement takes as its parameters and sees as a table: on PostgreSQL arrays, so that
/// one statement takes any number of them; on SQLite VALUES of a few sizes, so that few statements
/// are kept prepared.
package struct RowSource: Sendable {
  package enum ColumnType: Sendable {
    case integer, text, blob
  }

  /// How many rows one statement takes on SQLite, which takes 32,766 parameters at most.
  private static let sizes = [1_000, 100, 10, 1]

  private let types: [ColumnType]
  /// The whole texts, by the number of rows; the one for arrays stands at 0.
  private let texts: [Int: String]
  /// Which of the further parameters stand behind the rows, in the order of their places.
  private let places: [Int]?

  /// - Parameters:
  ///   - columns: their names and types.
  ///   - statement: the statement's text, from the query that gives the rows, which stands ahead of
  ///     all else, and from what stands for a further parameter: called for each place of one, in the
  ///     order of the places.
  package init(
    _ dialect: Dialect, _ columns: KeyValuePairs<String, ColumnType>,
    _ statement: (_ rows: String, _ further: @escaping (Int) -> String) -> String
  ) {
    let types = columns.map(\.value)
    self.types = types
    let names = columns.map(\.key).joined(separator: ", ")
    switch dialect {
    case .postgreSQL:
      let arrays = types.enumerated().map { index, type in
        "CAST($\(index + 1) AS \(type.element.name)[])"
      }
      texts = [
        0: statement(
          "SELECT \(names) FROM unnest(\(arrays.joined(separator: ", "))) AS given (\(names))"
        ) { "$\(types.count + $0 + 1)" }
      ]
      places = nil
    case .sqlite:
      texts = Dictionary(
        uniqueKeysWithValues: Self.sizes.filter { $0 * types.count < 32_000 }.map { size in
          // Not by name: SQLite looks for each name among all before.
          let row = "(" + types.map { _ in "?" }.joined(separator: ", ") + ")"
          let rows = Array(repeating: row, count: size).joined(separator: ", ")
          return (size, statement("VALUES \(rows)") { _ in "?" })
        })
      var order: [Int] = []
      _ = statement("") {
        order.append($0)
        return "?"
      }
      places = order
    }
  }

  /// - Parameters:
  ///   - values: those of one row, in the order of the columns.
  ///   - further: the parameters behind the rows.
  package func statements<Element>(
    _ elements: [Element], further: [SQLValue] = [], values: (Element) -> [SQLValue]
  ) -> [SQLStatement] {
    guard !elements.isEmpty else { return [] }
    if let text = texts[0] {
      var arrays = types.map { PostgresArray(of: $0.element, count: elements.count) }
      for element in elements {
        for (column, value) in values(element).enumerated() { arrays[column].append(value) }
      }
      return [SQLStatement(text, arrays.map { .blob($0.bytes) } + further)]
    }
    var statements: [SQLStatement] = []
    let behind = places?.map { further[$0] } ?? []
    var rest = elements[...]
    for size in Self.sizes {
      guard let text = texts[size] else { continue }
      while rest.count >= size {
        statements.append(SQLStatement(text, rest.prefix(size).flatMap(values) + behind))
        rest = rest.dropFirst(size)
      }
    }
    return statements
  }
}

extension RowSource.ColumnType {
  fileprivate var element: PostgresArray.Element {
    switch self {
    case .integer: .bigint
    case .text: .text
    case .blob: .bytea
    }
  }
}

/// One value for each dialect.
package struct PerDialect<Value: Sendable>: Sendable {
  private let sqlite: Value
  private let postgreSQL: Value

  package init(_ make: (Dialect) -> Value) {
    sqlite = make(.sqlite)
    postgreSQL = make(.postgreSQL)
  }

  package subscript(dialect: Dialect) -> Value {
    switch dialect {
    case .sqlite: sqlite
    case .postgreSQL: postgreSQL
    }
  }
}
