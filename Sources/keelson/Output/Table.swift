/// Rows for people: columns aligned, headings in capitals. A cell is one line, whatever is in it.
struct Table {
  private var rows: [[String]]

  init(_ headings: String...) {
    rows = [headings]
  }

  mutating func add(_ cells: String...) {
    rows.append(cells.map { $0.printable() })
  }

  var text: String {
    let widths = (rows.first ?? []).indices.map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell
        if column < row.count - 1 {
          line += String(repeating: " ", count: widths[column] - cell.count + 2)
        }
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}

/// One thing for people: a label and a value a line, whatever is in them.
struct Sheet {
  private var rows: [(String, String)] = []

  /// Adds a line, unless the value is empty.
  mutating func add(_ label: String, _ value: String) {
    guard !value.isEmpty else { return }
    rows.append((label.printable(), value.printable()))
  }

  var text: String {
    let width = (rows.map(\.0.count).max() ?? 0) + 2
    return rows.map { label, value in
      label + String(repeating: " ", count: width - label.count) + value
    }.joined(separator: "\n")
  }
}
