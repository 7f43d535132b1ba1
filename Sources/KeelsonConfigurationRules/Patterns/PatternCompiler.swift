/// Turns a pattern's tree into instructions.
struct PatternCompiler {
  private var program: [BoundedPattern.Instruction] = []
  /// The parts compiled; also those that come to nothing, of which a pattern can repeat very many.
  private var parts = 0

  mutating func finish() throws(PatternError) -> [BoundedPattern.Instruction] {
    try put(.match)
    return program
  }

  mutating func compile(_ tree: PatternTree) throws(PatternError) {
    parts += 1
    guard parts <= 4 * BoundedPattern.maximumInstructions else { throw Self.tooLong }
    switch tree {
    case .character(let set): try put(.character(set))
    case .atStart: try put(.atStart)
    case .atEnd: try put(.atEnd)
    case .sequence(let parts): for part in parts { try compile(part) }
    case .either(let choices): try compile(choices[...])
    case .repeated(let part, let minimum, let maximum):
      for _ in 0..<minimum { try compile(part) }
      guard let maximum else { return try compileLoop(part) }
      // Each further one is entered or not, and then none after it.
      var exits: [Int] = []
      for _ in minimum..<max(minimum, maximum) {
        exits.append(program.count)
        try put(.split(program.count + 1, 0))
        try compile(part)
      }
      for exit in exits { program[exit] = .split(exit + 1, program.count) }
    }
  }

  private mutating func compileLoop(_ part: PatternTree) throws(PatternError) {
    let start = program.count
    try put(.split(start + 1, 0))
    try compile(part)
    try put(.jump(start))
    program[start] = .split(start + 1, program.count)
  }

  private mutating func compile(_ choices: ArraySlice<PatternTree>) throws(PatternError) {
    guard let first = choices.first else { return }
    guard choices.count > 1 else { return try compile(first) }
    let start = program.count
    try put(.split(start + 1, 0))
    try compile(first)
    let end = program.count
    try put(.jump(0))
    program[start] = .split(start + 1, program.count)
    try compile(choices.dropFirst())
    program[end] = .jump(program.count)
  }

  private mutating func put(_ instruction: BoundedPattern.Instruction) throws(PatternError) {
    guard program.count < BoundedPattern.maximumInstructions else { throw Self.tooLong }
    program.append(instruction)
  }

  private static let tooLong = PatternError(
    "comes to more than \(BoundedPattern.maximumInstructions) steps; repeat less")
}
