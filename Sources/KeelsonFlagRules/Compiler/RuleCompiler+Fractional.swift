import KeelsonCore

extension RuleCompiler {
  /// `fractional`: an optional value to bucket by, then lists of a variant and its weight.
  mutating func compileFractional(
    _ operands: [JSONValue], as position: Position, in scope: VariableScope
  ) throws(RuleError) -> any Expression {
    var first = 0
    var bucketBy: (any Expression)?
    if let operand = operands.first {
      if case .array = operand {
      } else {
        bucketBy = try compile(operand: 0, of: operands, in: scope)
        first = 1
      }
    }
    var parts: [Fractional.Part] = []
    var total: Int64? = 0
    for index in first..<max(first, operands.count) {
      let part = try at(index) { (compiler) throws(RuleError) in
        try compiler.compilePart(operands[index], as: position, in: scope)
      }
      parts.append(part)
      if case .share(let share) = part, case .fixed(let weight) = share.weight {
        total = total.map { $0 + max(0, weight) }
      } else {
        total = nil
      }
    }
    if isStrict { try checkFractional(parts, total: total, operands) }
    return Fractional(
      bucketing: bucketing, flagKey: flagKey, bucketBy: bucketBy, parts: parts)
  }

  private func checkFractional(
    _ parts: [Fractional.Part], total: Int64?, _ operands: [JSONValue]
  ) throws(RuleError) {
    if parts.isEmpty {
      throw error(
        "\"fractional\" has no variants to choose from; add lists of a variant and its weight: "
          + "[\"on\", 50], [\"off\", 50]")
    }
    guard let total else { return }
    if total == 0 { throw error("the weights add up to 0; at least one has to be positive") }
    if total > Fractional.largestTotalWeight {
      throw error(
        "the weights add up to \(total), and \(Fractional.largestTotalWeight) is the most they may")
    }
  }

  private mutating func compilePart(
    _ operand: JSONValue, as position: Position, in scope: VariableScope
  ) throws(RuleError) -> Fractional.Part {
    guard case .array(let pair) = operand, !pair.isEmpty else {
      if isStrict {
        if case .object(let members) = operand, !members.isEmpty {
        } else {
          throw error(
            "\"fractional\" takes lists of a variant and its weight, such as [\"on\", 50], "
              + "not \(operand.excerpt)")
        }
      }
      return .computed(try compile(operand, as: .operand, in: scope))
    }
    if isStrict, pair.count > 2 {
      throw error("a share is a variant and its weight, but this list has \(pair.count) elements")
    }
    let variant = try compile(operand: 0, of: pair, as: position, in: scope)
    guard pair.count > 1 else {
      return .share(Fractional.Share(variant: variant, weight: .fixed(1)))
    }
    let weight = try compile(operand: 1, of: pair, in: scope)
    guard let literal = weight as? Literal else {
      return .share(Fractional.Share(variant: variant, weight: .computed(weight)))
    }
    if isStrict {
      try at(1) { (compiler) throws(RuleError) in try compiler.check(weight: literal) }
    }
    guard let whole = Fractional.weight(literal.constant) else {
      return .share(Fractional.Share(variant: variant, weight: .computed(weight)))
    }
    return .share(Fractional.Share(variant: variant, weight: .fixed(whole)))
  }

  private func check(weight literal: Literal) throws(RuleError) {
    guard let weight = Fractional.weight(literal.constant) else {
      throw error(
        "a weight is a whole number from 0 to \(Fractional.largestTotalWeight), "
          + "not \(literal.constant.excerpt)")
    }
    if weight < 0 {
      throw error("a weight is 0 or more, not \(weight)")
    }
  }
}
