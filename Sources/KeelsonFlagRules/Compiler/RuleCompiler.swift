import KeelsonCore

/// Turns a rule's JSON into expressions.
///
/// Two strengths: for evaluation it refuses only what cannot be given a meaning (an unknown
/// operator or segment, a limit passed); for writing (`isStrict`) also what can never work.
struct RuleCompiler {
  /// Where a piece stands: does its value become the rule's result?
  enum Position: Sendable {
    case result
    case operand
  }

  let flagKey: String
  /// nil when a segment is checked by itself, which belongs to no flag.
  let decisions: Decisions?
  let segments: [String: JSONValue]
  let bucketing: Bucketing
  let limits: RuleLimits
  let isStrict: Bool

  private(set) var referencedSegments: Set<String> = []
  var usesTimestamp = false
  private var path = ""
  private var enclosing = ""
  private var depth = 0
  private var nodes = 0
  private var isInsideSegment = false

  init(
    flagKey: String, decisions: Decisions?, segments: [String: JSONValue], bucketing: Bucketing,
    limits: RuleLimits, isStrict: Bool
  ) {
    self.flagKey = flagKey
    self.decisions = decisions
    self.segments = segments
    self.bucketing = bucketing
    self.limits = limits
    self.isStrict = isStrict
  }

  /// The rule's JSON; nil when the text says there is no rule.
  static func parse(_ text: String?, limits: RuleLimits) throws(RuleError) -> JSONValue? {
    guard let text, !text.isEmpty, text != "{}" else { return nil }
    guard text.utf8.count <= limits.textBytes else {
      throw RuleError(
        path: "", operator: "",
        message: "the rule is \(text.utf8.count) bytes long, and at most \(limits.textBytes) are "
          + "allowed; move lists of users or repeated parts into segments or attributes")
    }
    let rule: JSONValue
    do {
      rule = try JSONValue(parsing: text)
    } catch {
      throw RuleError(path: "", operator: "", message: "\(error)")
    }
    switch rule {
    case .null: return nil
    case .object(let members): return members.isEmpty ? nil : rule
    default:
      throw RuleError(
        path: "", operator: "",
        message: "a rule is a JSON object with one operator, such as {\"if\": […]}, "
          + "not \(rule.excerpt)")
    }
  }

  /// Compiles a whole rule.
  mutating func compileRule(_ rule: JSONValue) throws(RuleError) -> any Expression {
    try compile(rule, as: .result, in: .context)
  }

  /// Compiles a segment by itself.
  mutating func compileSegment(
    _ name: String, _ rule: JSONValue, as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let outer = (path, enclosing, isInsideSegment)
    (path, enclosing, isInsideSegment) = ("$evaluators.\(name)", "$ref", true)
    defer { (path, enclosing, isInsideSegment) = outer }
    return try compile(rule, as: position, in: scope)
  }

  mutating func compile(
    _ rule: JSONValue, as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    nodes += 1
    if nodes > limits.nodes {
      throw error(
        "the rule has more than \(limits.nodes) operators and values; move long lists into an "
          + "attribute of the context")
    }
    switch rule {
    case .object(let members) where !members.isEmpty:
      return try compile(members, as: position, in: scope)
    case .array(let elements):
      return try compile(list: elements, as: position, in: scope)
    default:
      return try compile(literal: rule, as: position)
    }
  }

  private mutating func compile(
    _ members: [String: JSONValue], as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    guard members.count == 1, let (name, operands) = members.first else {
      let names = members.keys.sorted().map { "\"\($0)\"" }.joined(separator: ", ")
      throw error(
        "an operator stands alone in its object, but this object has \(members.count) members: "
          + names)
    }
    guard let known = Operator(rawValue: name) else { throw unknownOperator(name) }
    let outer = (path, enclosing)
    path += (path.isEmpty ? "" : ".") + name
    enclosing = name
    defer { (path, enclosing) = outer }
    try descend()
    defer { depth -= 1 }

    let list: [JSONValue]
    if case .array(let elements) = operands { list = elements } else { list = [operands] }
    if isStrict {
      try checkCount(list.count, of: known)
      if position == .result, known.isBoolean { try checkBooleanResult(of: known) }
    }
    if known == .reference { return try compile(reference: operands, as: position, in: scope) }
    return try compile(known, list, as: position, in: scope)
  }

  /// Compiles the operand at `index`; one that is not there is null.
  mutating func compile(
    operand index: Int, of operands: [JSONValue], as position: Position = .operand,
    in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    guard index < operands.count else { return Literal.null }
    let outer = path
    path += "[\(index)]"
    defer { path = outer }
    return try compile(operands[index], as: position, in: scope)
  }

  /// Compiles all operands; only the last one can be in `position`.
  mutating func compile(
    operands: [JSONValue], lastAs position: Position = .operand, in scope: VariableScope
  ) throws(RuleError) -> [any Expression] {
    var compiled: [any Expression] = []
    compiled.reserveCapacity(operands.count)
    for index in operands.indices {
      compiled.append(
        try compile(
          operand: index, of: operands, as: index == operands.count - 1 ? position : .operand,
          in: scope))
    }
    return compiled
  }

  /// Runs `body` one index deeper in the path.
  mutating func at<Result>(
    _ index: Int, _ body: (inout RuleCompiler) throws(RuleError) -> Result
  ) throws(RuleError) -> Result {
    let outer = path
    path += "[\(index)]"
    defer { path = outer }
    return try body(&self)
  }

  private mutating func compile(
    list elements: [JSONValue], as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    if isStrict, position == .result, decisions != nil {
      throw error(
        "a rule's result is a variant's name or null, not the list "
          + JSONValue.array(elements).excerpt)
    }
    try descend()
    defer { depth -= 1 }
    let compiled = try compile(operands: elements, in: scope)
    var constants: [JSONValue] = []
    for element in compiled {
      guard let literal = element as? Literal else { return ListExpression(compiled) }
      constants.append(literal.constant)
    }
    return Literal(.array(constants))
  }

  private func compile(
    literal: JSONValue, as position: Position
  ) throws(RuleError) -> any Expression {
    guard position == .result, let decisions else { return Literal(literal) }
    switch literal {
    case .null:
      return Literal(literal, outcome: decisions.undecided)
    case .string, .bool, .number:
      let match = decisions.match(literal.joinedText)
      if match == nil, isStrict { throw noVariant(literal.joinedText, decisions) }
      return Literal(literal, outcome: match)
    default:
      if isStrict {
        throw error("a rule's result is a variant's name or null, not \(literal.excerpt)")
      }
      return Literal(literal)
    }
  }

  private mutating func compile(
    reference: JSONValue, as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    guard case .string(let name) = reference else {
      throw error("\"$ref\" takes the name of a segment, not \(reference.excerpt)")
    }
    if isInsideSegment {
      throw error(
        "a segment cannot refer to another one (\"\(name)\"); write its condition out here")
    }
    referencedSegments.insert(name)
    guard let segment = segments[name] else {
      throw error("there is no segment \"\(name)\"; " + known(segments.keys, "segments"))
    }
    return try compileSegment(name, segment, as: position, in: scope)
  }

  private mutating func descend() throws(RuleError) {
    depth += 1
    if depth > limits.depth {
      throw error(
        "the rule nests deeper than \(limits.depth) levels; join conditions with \"and\", \"or\" "
          + "and longer \"if\" lists instead of nesting them")
    }
  }
}

// What goes wrong
extension RuleCompiler {
  func error(_ message: String) -> RuleError {
    RuleError(path: path, operator: enclosing, message: message)
  }

  private func unknownOperator(_ name: String) -> RuleError {
    let hint: String
    if let closest = Operator.closest(to: name) {
      hint = "did you mean \"\(closest.rawValue)\"?"
    } else {
      hint = "the operators are " + Operator.allCases.map(\.rawValue).joined(separator: " ")
    }
    return RuleError(
      path: path + (path.isEmpty ? "" : ".") + name, operator: name,
      message: "unknown operator \"\(name)\"; \(hint)")
  }

  private func checkCount(_ count: Int, of known: Operator) throws(RuleError) {
    let counts = known.operandCounts
    if counts.contains(count) { return }
    let wanted: String
    if counts.upperBound == Int.max {
      wanted = "at least \(counts.lowerBound)"
    } else if counts.count == 1 {
      wanted = "\(counts.lowerBound)"
    } else {
      wanted = "\(counts.lowerBound) to \(counts.upperBound)"
    }
    let noun = counts.upperBound == 1 || wanted == "at least 1" ? "operand" : "operands"
    throw error("\"\(known.rawValue)\" takes \(wanted) \(noun), but here it has \(count)")
  }

  private func checkBooleanResult(of known: Operator) throws(RuleError) {
    guard let decisions else { return }
    for name in ["true", "false"] where decisions.match(name) == nil {
      throw error(
        "\"\(known.rawValue)\" gives true or false as the rule's result, but the flag has no "
          + "variant \"\(name)\"; wrap it as {\"if\": [{\"\(known.rawValue)\": …}, \"<variant>\", "
          + "\"<variant>\"]}")
    }
  }

  private func noVariant(_ name: String, _ decisions: Decisions) -> RuleError {
    error("the flag has no variant \"\(name)\"; " + known(decisions.variantNames, "variants"))
  }

  private func known(_ names: some Collection<String>, _ noun: String) -> String {
    if names.isEmpty { return "there are no \(noun)" }
    let shown = names.sorted().prefix(20).map { "\"\($0)\"" }.joined(separator: ", ")
    return "the \(noun) are \(shown)" + (names.count > 20 ? ", …" : "")
  }
}
