/// The names of a result's columns, shared by all of its rows.
package final class RowColumns: Sendable {
  package let names: [String]
  private let indices: [String: Int]

  package init(_ names: [String]) {
    self.names = names
    indices = Dictionary(names.enumerated().map { ($1, $0) }) { first, _ in first }
  }

  package func index(of name: String) -> Int? { indices[name] }
}

/// One row of a query's result.
///
/// A column is read as the type that the context wants, by name or by place:
/// `let key: String = try row.get("key")`. A column that may be null is read as an optional.
package struct Row: Sendable {
  package let columns: RowColumns
  package let values: [SQLValue]

  package init(columns: RowColumns, values: [SQLValue]) {
    self.columns = columns
    self.values = values
  }

  /// - Throws: ``StoreError`` with code misuse when the result has no such column or its value is
  ///   of another kind.
  package func get<Value: SQLDecodable>(_ name: String, as type: Value.Type = Value.self) throws
    -> Value
  {
    guard let index = columns.index(of: name) else {
      throw StoreError(
        .misuse,
        "The result has no column \(name); it has \(columns.names.joined(separator: ", ")).")
    }
    return try get(index, as: type)
  }

  /// - Throws: ``StoreError`` with code misuse when the result has no such column or its value is
  ///   of another kind.
  package func get<Value: SQLDecodable>(_ index: Int, as type: Value.Type = Value.self) throws
    -> Value
  {
    guard values.indices.contains(index) else {
      throw StoreError(
        .misuse, "The result has no column \(index); it has \(values.count), counted from 0.")
    }
    guard let value = Value(values[index], decoding: ()) else {
      throw StoreError(
        .misuse,
        "Column \(columns.names[index]) holds \(values[index].kind), which is no \(Value.self).")
    }
    return value
  }
}
