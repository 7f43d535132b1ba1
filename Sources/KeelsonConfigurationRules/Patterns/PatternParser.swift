/// Reads a pattern.
struct PatternParser {
  /// Groups inside one another.
  private static let maximumDepth = 32
  /// How often `{n,m}` may repeat.
  private static let maximumRepeats = 1_000

  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var depth = 0

  init(_ text: String) {
    scalars = Array(text.unicodeScalars)
  }

  mutating func read() throws(PatternError) -> PatternTree {
    let tree = try readChoices()
    guard position == scalars.count else { throw error("')' closes no group") }
    return tree
  }

  private mutating func readChoices() throws(PatternError) -> PatternTree {
    var choices = [try readSequence()]
    while take("|") { choices.append(try readSequence()) }
    return choices.count == 1 ? choices[0] : .either(choices)
  }

  private mutating func readSequence() throws(PatternError) -> PatternTree {
    var parts: [PatternTree] = []
    while let next = peek, next != "|", next != ")" {
      parts.append(try readRepeats(of: try readPart()))
    }
    return .sequence(parts)
  }

  private mutating func readPart() throws(PatternError) -> PatternTree {
    let scalar = scalars[position]
    position += 1
    switch scalar {
    case "^": return .atStart
    case "$": return .atEnd
    case ".": return .character(.any)
    case "(": return try readGroup()
    case "[": return .character(try readClass())
    case "\\": return .character(try readEscape())
    case "*", "+", "?": throw error("'\(scalar)' repeats nothing; write '\\\(scalar)' for itself")
    case "{": throw error("'{' repeats nothing; write '\\{' for itself")
    default: return .character(CharacterSet(scalar))
    }
  }

  private mutating func readGroup() throws(PatternError) -> PatternTree {
    depth += 1
    guard depth <= Self.maximumDepth else {
      throw error("groups nest deeper than \(Self.maximumDepth) levels")
    }
    if take("?") {
      guard take(":") else {
        throw error("of the groups that begin with '(?' only '(?:' is known")
      }
    }
    let tree = try readChoices()
    guard take(")") else { throw error("a group is not closed; ')' is missing") }
    depth -= 1
    return tree
  }

  private mutating func readRepeats(of part: PatternTree) throws(PatternError) -> PatternTree {
    var part = part
    while let next = peek {
      let (minimum, maximum): (Int, Int?)
      switch next {
      case "*": (minimum, maximum) = (0, nil)
      case "+": (minimum, maximum) = (1, nil)
      case "?": (minimum, maximum) = (0, 1)
      case "{":
        position += 1
        (minimum, maximum) = try readCounts()
        part = try repeated(part, minimum, maximum)
        continue
      default: return part
      }
      position += 1
      part = try repeated(part, minimum, maximum)
    }
    return part
  }

  private func repeated(_ part: PatternTree, _ minimum: Int, _ maximum: Int?)
    throws(PatternError) -> PatternTree
  {
    if case .repeated = part {
      throw error("repeats what is repeated already; put it into a group: (?:a+)*")
    }
    return .repeated(part, minimum: minimum, maximum: maximum)
  }

  /// What follows `{`: `3}`, `2,}` or `2,5}`.
  private mutating func readCounts() throws(PatternError) -> (Int, Int?) {
    guard let minimum = readNumber() else { throw error("a number should follow '{'") }
    var maximum: Int? = minimum
    if take(",") { maximum = peek == "}" ? nil : readNumber() ?? -1 }
    guard take("}"), maximum.map({ $0 >= minimum }) ?? true,
      max(minimum, maximum ?? 0) <= Self.maximumRepeats
    else {
      throw error("a repetition is {n}, {n,} or {n,m}, up to \(Self.maximumRepeats) times")
    }
    return (minimum, maximum)
  }

  private mutating func readNumber() -> Int? {
    var digits = ""
    while let scalar = peek, CharacterSet.digits.contains(scalar), digits.count < 6 {
      digits.unicodeScalars.append(scalar)
      position += 1
    }
    return Int(digits)
  }

  private mutating func readClass() throws(PatternError) -> CharacterSet {
    let isNegated = take("^")
    var ranges: [ClosedRange<UInt32>] = []
    var isFirst = true
    while let scalar = peek, isFirst || scalar != "]" {
      isFirst = false
      position += 1
      let set = scalar == "\\" ? try readEscape() : CharacterSet(scalar)
      guard peek == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
        ranges += set.plainRanges
        continue
      }
      position += 1
      let upper = scalars[position]
      position += 1
      let upperSet = upper == "\\" ? try readEscape() : CharacterSet(upper)
      guard let low = set.single, let high = upperSet.single, low <= high else {
        throw error("a range in '[...]' goes from a lower character to a higher one")
      }
      ranges.append(low...high)
    }
    guard take("]") else { throw error("a class is not closed; ']' is missing") }
    return CharacterSet(ranges, isNegated: isNegated)
  }

  private mutating func readEscape() throws(PatternError) -> CharacterSet {
    guard let scalar = peek else { throw error("the pattern ends after '\\'") }
    position += 1
    switch scalar {
    case "d": return .digits
    case "D": return .digits.inverted
    case "w": return .words
    case "W": return .words.inverted
    case "s": return .blanks
    case "S": return .blanks.inverted
    case "n": return CharacterSet("\n")
    case "r": return CharacterSet("\r")
    case "t": return CharacterSet("\t")
    default:
      guard !CharacterSet.words.contains(scalar) else {
        throw error("'\\\(scalar)' is not known; \\d \\w \\s \\D \\W \\S \\n \\r \\t are")
      }
      return CharacterSet(scalar)
    }
  }

  // MARK: Characters

  private var peek: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == scalar else { return false }
    position += 1
    return true
  }

  private func error(_ problem: String) -> PatternError {
    PatternError("is no pattern: \(problem) (character \(position + 1))")
  }
}

extension CharacterSet {
  /// The one character of a set that has only one.
  fileprivate var single: UInt32? {
    guard !isNegated, ranges.count == 1, ranges[0].count == 1 else { return nil }
    return ranges[0].lowerBound
  }
}
