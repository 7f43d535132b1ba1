import KeelsonCore

/// A value that stands in the rule.
final class Literal: Expression {
  static let null = Literal(.null)

  let constant: JSONValue
  /// The evaluation it leads to as the rule's result, when that is known.
  let outcome: FlagEvaluation.Outcome?

  init(_ constant: JSONValue, outcome: FlagEvaluation.Outcome? = nil) {
    self.constant = constant
    self.outcome = outcome
  }

  func value(_ frame: inout Frame) -> JSONValue { constant }

  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome {
    outcome ?? frame.decisions.outcome(for: constant)
  }
}

/// A list with operators among its elements.
final class ListExpression: Expression {
  let elements: [any Expression]

  init(_ elements: [any Expression]) {
    self.elements = elements
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var values: [JSONValue] = []
    values.reserveCapacity(elements.count)
    for element in elements { values.append(element.value(&frame)) }
    return .array(values)
  }
}

/// `if` and `?:`: condition, result, condition, result, …, otherwise.
final class If: Expression {
  struct Branch: Sendable {
    let condition: any Expression
    let result: any Expression
  }

  // The first branch apart: most rules have no other, and it costs less to reach.
  let condition: any Expression
  let result: any Expression
  let rest: [Branch]
  let otherwise: any Expression

  init(_ first: Branch, _ rest: [Branch], otherwise: any Expression) {
    condition = first.condition
    result = first.result
    self.rest = rest
    self.otherwise = otherwise
  }

  func value(_ frame: inout Frame) -> JSONValue {
    if condition.isTrue(&frame) { return result.value(&frame) }
    for branch in rest where branch.condition.isTrue(&frame) { return branch.result.value(&frame) }
    return otherwise.value(&frame)
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    if condition.isTrue(&frame) { return result.isTrue(&frame) }
    for branch in rest where branch.condition.isTrue(&frame) {
      return branch.result.isTrue(&frame)
    }
    return otherwise.isTrue(&frame)
  }

  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome {
    if condition.isTrue(&frame) { return result.decide(&frame) }
    for branch in rest where branch.condition.isTrue(&frame) {
      return branch.result.decide(&frame)
    }
    return otherwise.decide(&frame)
  }
}

/// `and` and `or`: the first operand that settles it (for `and` one that is not true, for `or` one
/// that is), or the last one. Many operands become a balanced tree of pairs, which evaluates them
/// in the same order.
final class Junction: Expression {
  enum Kind: Sendable { case and, or }

  let left: any Expression
  let right: any Expression
  /// What of the left operand settles it.
  let settling: Bool

  private init(_ left: any Expression, _ right: any Expression, settling: Bool) {
    self.left = left
    self.right = right
    self.settling = settling
  }

  /// Of no operands: null.
  static func make(_ kind: Kind, _ operands: ArraySlice<any Expression>) -> any Expression {
    guard let first = operands.first else { return Literal.null }
    if operands.count == 1 { return first }
    let middle = operands.startIndex + operands.count / 2
    return Junction(
      make(kind, operands[..<middle]), make(kind, operands[middle...]), settling: kind == .or)
  }

  func value(_ frame: inout Frame) -> JSONValue {
    let value = left.value(&frame)
    return value.isTruthy == settling ? value : right.value(&frame)
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    left.isTrue(&frame) == settling ? settling : right.isTrue(&frame)
  }
}

/// `!` and `!!`.
final class Truth: BooleanExpression {
  let operand: any Expression
  let isNegated: Bool

  init(_ operand: any Expression, isNegated: Bool) {
    self.operand = operand
    self.isNegated = isNegated
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    operand.isTrue(&frame) != isNegated
  }
}

/// `==`, `===`, `!=` and `!==`.
final class Equality: BooleanExpression {
  let left: any Expression
  let right: any Expression
  let isStrict: Bool
  let isNegated: Bool

  init(_ left: any Expression, _ right: any Expression, isStrict: Bool, isNegated: Bool) {
    self.left = left
    self.right = right
    self.isStrict = isStrict
    self.isNegated = isNegated
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    let left = left.value(&frame)
    let right = right.value(&frame)
    let same = isStrict ? left.isIdentical(to: right) : left.isLooselyEqual(to: right)
    return same != isNegated
  }
}

/// `<`, `<=`, `>` and `>=`, also between: `{"<": [1, {"var": "x"}, 10]}`.
final class Comparison: BooleanExpression {
  enum Relation: Sendable {
    case less, lessOrSame, greater, greaterOrSame

    func holds(_ left: JSONValue, _ right: JSONValue) -> Bool {
      switch (self, left.ordering(to: right)) {
      case (.less, .less), (.lessOrSame, .less), (.lessOrSame, .same), (.greater, .greater),
        (.greaterOrSame, .greater), (.greaterOrSame, .same):
        true
      default: false
      }
    }
  }

  let relation: Relation
  let first: any Expression
  let second: any Expression
  let third: (any Expression)?

  init(
    _ relation: Relation, _ first: any Expression, _ second: any Expression,
    _ third: (any Expression)?
  ) {
    self.relation = relation
    self.first = first
    self.second = second
    self.third = third
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    let middle = second.value(&frame)
    guard relation.holds(first.value(&frame), middle) else { return false }
    guard let third else { return true }
    return relation.holds(middle, third.value(&frame))
  }
}
