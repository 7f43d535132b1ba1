/// The operators a rule may use, by their names in JSON.
enum Operator: String, Sendable, CaseIterable {
  case variable = "var"
  case missing
  case missingSome = "missing_some"
  case `if`
  case ternary = "?:"
  case equal = "=="
  case identical = "==="
  case unequal = "!="
  case notIdentical = "!=="
  case not = "!"
  case truth = "!!"
  case or
  case and
  case greater = ">"
  case greaterOrSame = ">="
  case less = "<"
  case lessOrSame = "<="
  case maximum = "max"
  case minimum = "min"
  case add = "+"
  case subtract = "-"
  case multiply = "*"
  case divide = "/"
  case remainder = "%"
  case map
  case reduce
  case filter
  case all
  case none
  case some
  case merge
  case `in`
  case concatenate = "cat"
  case substr
  case log
  case startsWith = "starts_with"
  case endsWith = "ends_with"
  case semanticVersion = "sem_ver"
  case fractional
  case reference = "$ref"

  /// How many operands it makes sense with. Fewer count as null and more are ignored when a rule
  /// is evaluated; a rule being written is refused.
  var operandCounts: ClosedRange<Int> {
    switch self {
    case .variable: 0...2
    case .merge: 0...Int.max
    case .missing, .if, .ternary, .or, .and, .maximum, .minimum, .add, .multiply, .concatenate,
      .fractional:
      1...Int.max
    case .missingSome, .equal, .identical, .unequal, .notIdentical, .divide, .remainder, .map,
      .filter, .all, .none, .some, .in, .startsWith, .endsWith:
      2...2
    case .greater, .greaterOrSame, .less, .lessOrSame, .substr: 2...3
    case .not, .truth, .log, .reference: 1...1
    case .subtract: 1...2
    case .reduce, .semanticVersion: 3...3
    }
  }

  /// Whether it gives true or false (or null, for bad input) and nothing else.
  var isBoolean: Bool {
    switch self {
    case .equal, .identical, .unequal, .notIdentical, .not, .truth, .greater, .greaterOrSame,
      .less, .lessOrSame, .all, .none, .some, .in, .startsWith, .endsWith, .semanticVersion:
      true
    default: false
    }
  }

  /// The operator spelled most like a name that is none; nil when none is close.
  static func closest(to name: String) -> Operator? {
    let candidates = allCases.map { (operator: $0, distance: distance($0.rawValue, name)) }
    guard let best = candidates.min(by: { $0.distance < $1.distance }) else { return nil }
    return best.distance <= 2 && best.distance < name.count ? best.operator : nil
  }

  /// How many characters have to be inserted, dropped or replaced to make one text the other.
  private static func distance(_ left: String, _ right: String) -> Int {
    let right = Array(right.lowercased())
    var row = Array(0...right.count)
    for (above, character) in left.enumerated() {
      var diagonal = row[0]
      row[0] = above + 1
      for (column, other) in right.enumerated() {
        let replaced = diagonal + (character == other ? 0 : 1)
        diagonal = row[column + 1]
        row[column + 1] = min(replaced, row[column] + 1, row[column + 1] + 1)
      }
    }
    return row[right.count]
  }
}
