/// A regular expression whose cost is bounded: matching takes at most (its instructions) × (the
/// text's characters) steps, whatever the text; there is no backtracking. Source: Thompson, "Regular
/// Expression Search Algorithm" (1968).
///
/// The syntax is what patterns of settings need: literals, `.`, classes (`[a-z]`, `[^0-9]`, `\d`,
/// `\w`, `\s` and their capitals), groups, `|`, `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}`, `^` and `$`.
/// No back-references and no looking around. A pattern has to match the whole text.
package struct BoundedPattern: Sendable, Hashable {
  /// UTF-8 bytes of a pattern.
  package static let maximumBytes = 1_024
  /// What a pattern may come to once its repetitions are written out.
  package static let maximumInstructions = 2_000
  /// UTF-8 bytes of a text that is matched; a longer one matches nothing.
  package static let maximumTextBytes = 8_192

  /// The pattern as it was written.
  package let text: String
  let program: [Instruction]

  /// - Throws: ``PatternError`` that says what is wrong and where.
  package init(_ text: String) throws(PatternError) {
    guard text.utf8.count <= Self.maximumBytes else {
      throw PatternError("has \(text.utf8.count) bytes; at most \(Self.maximumBytes) are allowed")
    }
    var parser = PatternParser(text)
    let tree = try parser.read()
    var compiler = PatternCompiler()
    try compiler.compile(tree)
    self.text = text
    program = try compiler.finish()
  }

  enum Instruction: Sendable, Hashable {
    case character(CharacterSet)
    case split(Int, Int)
    case jump(Int)
    case atStart
    case atEnd
    case match
  }

  /// Whether the whole of a text matches.
  package func matches(_ text: String) -> Bool {
    matches(text, within: .unlimited) ?? false
  }

  /// So many steps are taken off a budget at once.
  private static let stepsAtOnce = 4_096

  /// Whether the whole of a text matches; nil when the budget does not reach to its end.
  func matches(_ text: String, within budget: ValidationBudget) -> Bool? {
    guard text.utf8.count <= Self.maximumTextBytes else { return false }
    let scalars = Array(text.unicodeScalars)
    var current = Threads(capacity: program.count)
    var next = Threads(capacity: program.count)
    var pending: [Int] = []
    add(0, &pending, to: &current, at: 0, of: scalars.count)
    // What has been done and not taken off the budget yet; making the threads counts as well.
    var steps = program.count
    for (position, scalar) in scalars.enumerated() {
      steps += current.list.count + 1
      if steps >= Self.stepsAtOnce {
        guard budget.take(steps) else { return nil }
        steps = 0
      }
      guard !current.isEmpty else { break }
      for thread in current.list {
        if case .character(let set) = program[thread], set.contains(scalar) {
          add(thread + 1, &pending, to: &next, at: position + 1, of: scalars.count)
        }
      }
      swap(&current, &next)
      next.removeAll()
    }
    guard budget.take(steps) else { return nil }
    return current.list.contains { program[$0] == .match }
  }

  /// Adds an instruction and all that follow it without taking a character, each once.
  private func add(
    _ start: Int, _ pending: inout [Int], to threads: inout Threads, at position: Int,
    of count: Int
  ) {
    pending.append(start)
    while let index = pending.popLast() {
      guard threads.insert(index) else { continue }
      switch program[index] {
      case .jump(let target): pending.append(target)
      case .split(let first, let second):
        pending.append(second)
        pending.append(first)
      case .atStart: if position == 0 { pending.append(index + 1) }
      case .atEnd: if position == count { pending.append(index + 1) }
      case .character, .match: break
      }
    }
  }

  /// The places in the program that a match may have come to, each at most once.
  private struct Threads {
    private(set) var list: [Int] = []
    private var isIn: [Bool]

    init(capacity: Int) {
      list.reserveCapacity(capacity)
      isIn = Array(repeating: false, count: capacity)
    }

    var isEmpty: Bool { list.isEmpty }

    mutating func insert(_ index: Int) -> Bool {
      guard !isIn[index] else { return false }
      isIn[index] = true
      list.append(index)
      return true
    }

    mutating func removeAll() {
      for index in list { isIn[index] = false }
      list.removeAll(keepingCapacity: true)
    }
  }
}

/// Why a text is no pattern.
package struct PatternError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A clause: what is wrong, where, and what would be right.
  package var message: String

  package init(_ message: String) {
    self.message = message
  }

  package var description: String { message }
}
