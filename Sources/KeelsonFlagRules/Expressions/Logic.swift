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

  let branches: [Branch]
  let otherwise: any Expression

  init(_ branches: [Branch], otherwise: any Expression) {
    self.branches = branches
    self.otherwise = otherwise
  }

  private func chosen(_ frame: inout Frame) -> any Expression {
    for branch in branches where branch.condition.isTrue(&frame) { return branch.result }
    return otherwise
  }

  func value(_ frame: inout Frame) -> JSONValue { chosen(&frame).value(&frame) }
  func isTrue(_ frame: inout Frame) -> Bool { chosen(&frame).isTrue(&frame) }
  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome { chosen(&frame).decide(&frame) }
}

/// `and`: the first operand that is not true, or the last one.
final class And: Expression {
  let operands: [any Expression]

  init(_ operands: [any Expression]) {
    self.operands = operands
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var value = JSONValue.null
    for operand in operands {
      value = operand.value(&frame)
      if !value.isTruthy { break }
    }
    return value
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    for operand in operands where !operand.isTrue(&frame) { return false }
    return !operands.isEmpty
  }
}

/// `or`: the first operand that is true, or the last one.
final class Or: Expression {
  let operands: [any Expression]

  init(_ operands: [any Expression]) {
    self.operands = operands
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var value = JSONValue.null
    for operand in operands {
      value = operand.value(&frame)
      if value.isTruthy { break }
    }
    return value
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    for operand in operands where operand.isTrue(&frame) { return true }
    return false
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
