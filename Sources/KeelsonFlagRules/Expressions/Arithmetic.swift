import KeelsonCore

/// `+`, `*`, `-`, `/`, `%`, `max` and `min`. What is no number makes the result NaN, which as a
/// rule's result counts as null.
final class Arithmetic: Expression {
  enum Operation: Sendable {
    case add, multiply, subtract, divide, remainder, maximum, minimum
  }

  let operation: Operation
  let operands: [any Expression]

  init(_ operation: Operation, _ operands: [any Expression]) {
    self.operation = operation
    self.operands = operands
  }

  func value(_ frame: inout Frame) -> JSONValue {
    .number(number(&frame))
  }

  private func number(_ frame: inout Frame) -> Double {
    switch operation {
    case .add:
      var sum = 0.0
      for operand in operands { sum += operand.value(&frame).leadingNumber }
      return sum
    case .multiply:
      var product = 1.0
      for operand in operands { product *= operand.value(&frame).leadingNumber }
      return product
    case .maximum:
      var largest = -Double.infinity
      for operand in operands {
        let number = operand.value(&frame).asNumber
        largest = number.isNaN || largest.isNaN ? .nan : max(largest, number)
      }
      return largest
    case .minimum:
      var smallest = Double.infinity
      for operand in operands {
        let number = operand.value(&frame).asNumber
        smallest = number.isNaN || smallest.isNaN ? .nan : min(smallest, number)
      }
      return smallest
    case .subtract where operands.count == 1:
      return -operands[0].value(&frame).asNumber
    case .subtract, .divide, .remainder:
      guard operands.count > 1 else { return .nan }
      let left = operands[0].value(&frame).asNumber
      let right = operands[1].value(&frame).asNumber
      switch operation {
      case .subtract: return left - right
      case .divide: return left / right
      default: return left.truncatingRemainder(dividingBy: right)
      }
    }
  }
}
