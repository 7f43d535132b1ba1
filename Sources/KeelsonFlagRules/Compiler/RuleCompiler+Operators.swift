import KeelsonCore

extension RuleCompiler {
  mutating func compile(
    _ known: Operator, _ operands: [JSONValue], as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    switch known {
    case .variable: return try compileVariable(operands, in: scope)
    case .missing: return Missing(try compile(operands: operands, in: scope), scope: scope)
    case .missingSome:
      let needed = try compile(operand: 0, of: operands, in: scope)
      return MissingSome(needed, try compile(operand: 1, of: operands, in: scope), scope: scope)
    case .if, .ternary: return try compileIf(operands, as: position, in: scope)
    case .equal: return try compileEquality(operands, strict: false, negated: false, in: scope)
    case .identical: return try compileEquality(operands, strict: true, negated: false, in: scope)
    case .unequal: return try compileEquality(operands, strict: false, negated: true, in: scope)
    case .notIdentical:
      return try compileEquality(operands, strict: true, negated: true, in: scope)
    case .not: return Truth(try compile(operand: 0, of: operands, in: scope), isNegated: true)
    case .truth: return Truth(try compile(operand: 0, of: operands, in: scope), isNegated: false)
    case .or:
      return Junction.make(.or, try compile(operands: operands, lastAs: position, in: scope)[...])
    case .and:
      return Junction.make(.and, try compile(operands: operands, lastAs: position, in: scope)[...])
    case .greater: return try compileComparison(.greater, operands, in: scope)
    case .greaterOrSame: return try compileComparison(.greaterOrSame, operands, in: scope)
    case .less: return try compileComparison(.less, operands, in: scope)
    case .lessOrSame: return try compileComparison(.lessOrSame, operands, in: scope)
    case .maximum: return Arithmetic(.maximum, try compile(operands: operands, in: scope))
    case .minimum: return Arithmetic(.minimum, try compile(operands: operands, in: scope))
    case .add: return Arithmetic(.add, try compile(operands: operands, in: scope))
    case .subtract: return Arithmetic(.subtract, try compile(operands: operands, in: scope))
    case .multiply: return Arithmetic(.multiply, try compile(operands: operands, in: scope))
    case .divide: return Arithmetic(.divide, try compile(operands: operands, in: scope))
    case .remainder: return Arithmetic(.remainder, try compile(operands: operands, in: scope))
    case .map, .filter, .all, .none, .some, .reduce:
      return try compileLoop(known, operands, in: scope)
    case .merge: return Merge(try compile(operands: operands, in: scope))
    case .in: return try compileMembership(operands, in: scope)
    case .concatenate: return Concatenation(try compile(operands: operands, in: scope))
    case .substr:
      let text = try compile(operand: 0, of: operands, in: scope)
      let start = try compile(operand: 1, of: operands, in: scope)
      let length = operands.count > 2 ? try compile(operand: 2, of: operands, in: scope) : nil
      return Substr(text, start: start, length: length)
    case .log: return try compile(operand: 0, of: operands, as: position, in: scope)
    case .startsWith, .endsWith: return try compileAffix(known, operands, in: scope)
    case .semanticVersion: return try compileVersionComparison(operands, in: scope)
    case .fractional: return try compileFractional(operands, as: position, in: scope)
    case .reference: throw error("\"$ref\" takes the name of a segment")
    }
  }

  private mutating func compileVariable(
    _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let fallback = operands.count > 1 ? try compile(operand: 1, of: operands, in: scope) : nil
    let text: String
    switch operands.first ?? .null {
    case .null: text = ""
    case .string(let path): text = path
    case .number(let index): text = NumberText.text(index)
    default:
      if scope == .context { usesTimestamp = true }
      let path = try compile(operand: 0, of: operands, in: scope)
      return ComputedVariable(path, scope: scope, fallback: fallback)
    }
    if text.isEmpty {
      if scope == .context { usesTimestamp = true }
      return WholeScope(scope)
    }
    let path = VariablePath(text)
    guard scope == .context else { return PathVariable(path, scope: scope, fallback: fallback) }
    switch text {
    case "targetingKey": return TargetingKey(fallback: fallback)
    case "$flagd.flagKey": return Literal(.string(flagKey))
    case "$flagd.timestamp":
      usesTimestamp = true
      return Timestamp()
    default: break
    }
    if path.components[0].name == "$flagd" { usesTimestamp = true }
    if path.components.count == 1, text != "$flagd" {
      return Attribute(text, fallback: fallback)
    }
    return PathVariable(path, scope: scope, fallback: fallback)
  }

  private mutating func compileIf(
    _ operands: [JSONValue], as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    var branches: [If.Branch] = []
    var index = 0
    while index + 1 < operands.count {
      let condition = try compile(operand: index, of: operands, in: scope)
      let result = try compile(operand: index + 1, of: operands, as: position, in: scope)
      branches.append(If.Branch(condition: condition, result: result))
      index += 2
    }
    let otherwise =
      index < operands.count
      ? try compile(operand: index, of: operands, as: position, in: scope) : Literal.null
    guard let first = branches.first else { return otherwise }
    return If(first, Array(branches.dropFirst()), otherwise: otherwise)
  }

  private mutating func compileEquality(
    _ operands: [JSONValue], strict: Bool, negated: Bool, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let left = try compile(operand: 0, of: operands, in: scope)
    let right = try compile(operand: 1, of: operands, in: scope)
    return Equality(left, right, isStrict: strict, isNegated: negated)
  }

  private mutating func compileComparison(
    _ relation: Comparison.Relation, _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let first = try compile(operand: 0, of: operands, in: scope)
    let second = try compile(operand: 1, of: operands, in: scope)
    let third = operands.count > 2 ? try compile(operand: 2, of: operands, in: scope) : nil
    return Comparison(relation, first, second, third)
  }

  private mutating func compileLoop(
    _ known: Operator, _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let list = try compile(operand: 0, of: operands, in: scope)
    let body = try compile(
      operand: 1, of: operands, in: known == .reduce ? .reduction : .element)
    switch known {
    case .map: return Transform(.map, list, body)
    case .filter: return Transform(.filter, list, body)
    case .all: return Quantifier(.all, list, body)
    case .none: return Quantifier(.none, list, body)
    case .some: return Quantifier(.some, list, body)
    default:
      return Reduce(list, body, initial: try compile(operand: 2, of: operands, in: scope))
    }
  }

  private mutating func compileMembership(
    _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let needle = try compile(operand: 0, of: operands, in: scope)
    let haystack = try compile(operand: 1, of: operands, in: scope)
    guard let literal = haystack as? Literal else { return Membership(needle, haystack) }
    switch literal.constant {
    case .array(let elements):
      let isFlat = elements.allSatisfy { element in
        switch element {
        case .array, .object: false
        default: true
        }
      }
      return isFlat ? LiteralMembership(needle, elements) : Membership(needle, haystack)
    case .string: return Membership(needle, haystack)
    default:
      if isStrict {
        throw error(
          "\"in\" looks in a list or a text, not in \(literal.constant.excerpt); write "
            + "{\"in\": [<value>, [<value>, …]]}")
      }
      return Membership(needle, haystack)
    }
  }

  private mutating func compileAffix(
    _ known: Operator, _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let text = try compile(operand: 0, of: operands, in: scope)
    let part = try compile(operand: 1, of: operands, in: scope)
    // Not two operands: null, whatever they are.
    guard operands.count == 2 else { return Literal.null }
    if isStrict, let literal = part as? Literal {
      guard case .string = literal.constant else {
        throw error("\"\(known.rawValue)\" compares with a text, not \(literal.constant.excerpt)")
      }
    }
    return Affix(known == .startsWith ? .start : .end, text, part)
  }

  private mutating func compileVersionComparison(
    _ operands: [JSONValue], in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    let left = try compile(operand: 0, of: operands, in: scope)
    let relation = try compile(operand: 1, of: operands, in: scope)
    let right = try compile(operand: 2, of: operands, in: scope)
    guard operands.count == 3 else { return Literal.null }
    if isStrict {
      if let literal = relation as? Literal,
        VersionComparison.Relation(rawValue: literal.constant.joinedText) == nil
      {
        let known = VersionComparison.Relation.allCases.map(\.rawValue).joined(separator: " ")
        throw error(
          "\"sem_ver\" compares with one of \(known), not \(literal.constant.excerpt)")
      }
      for side in [left, right] {
        if let literal = side as? Literal, SemanticVersion(literal.constant) == nil {
          throw error("\(literal.constant.excerpt) is no version; write it like \"1.2.3\"")
        }
      }
    }
    return VersionComparison(left, relation, right)
  }
}
