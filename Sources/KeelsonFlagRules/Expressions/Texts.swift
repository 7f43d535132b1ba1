import KeelsonCore

/// `cat`: the operands' texts one after another.
final class Concatenation: Expression {
  let operands: [any Expression]

  init(_ operands: [any Expression]) {
    self.operands = operands
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var text = ""
    for operand in operands {
      switch operand.value(&frame) {
      case .string(let part): text += part
      case let other: text += other.joinedText
      }
      guard frame.spend(text.utf8.count) else { return .null }
    }
    return .string(text)
  }
}

/// `substr`: text, start, length; in Unicode code points. A negative start counts from the end; a
/// negative length leaves off so many at the end.
final class Substr: Expression {
  let text: any Expression
  let start: any Expression
  let length: (any Expression)?

  init(_ text: any Expression, start: any Expression, length: (any Expression)?) {
    self.text = text
    self.start = start
    self.length = length
  }

  func value(_ frame: inout Frame) -> JSONValue {
    let scalars = text.value(&frame).joinedText.unicodeScalars
    guard frame.spend(scalars.count) else { return .null }
    let count = scalars.count
    let wanted = Substr.position(start.value(&frame))
    let from = wanted < 0 ? max(0, count + wanted) : min(wanted, count)
    var end = count
    if let length = length?.value(&frame), length != .null {
      let length = Substr.position(length)
      end = length < 0 ? max(from, count + length) : min(count, from + length)
    }
    return .string(String(scalars.dropFirst(from).prefix(end - from)))
  }

  /// A number as a position: the fraction dropped, NaN as 0, far out of any text's range cut off.
  private static func position(_ value: JSONValue) -> Int {
    let number = value.asNumber
    let bound = Double(1 << 40)
    return number.isNaN ? 0 : Int(max(-bound, min(bound, number)))
  }
}

/// `starts_with` and `ends_with`: null unless both operands are texts.
final class Affix: Expression {
  enum Side: Sendable { case start, end }

  let side: Side
  let text: any Expression
  let part: any Expression

  init(_ side: Side, _ text: any Expression, _ part: any Expression) {
    self.side = side
    self.text = text
    self.part = part
  }

  private func holds(_ frame: inout Frame) -> Bool? {
    guard case .string(let text) = text.value(&frame),
      case .string(let part) = part.value(&frame)
    else { return nil }
    let missing = text.utf8.count - part.utf8.count
    guard missing >= 0 else { return false }
    switch side {
    case .start: return text.startsWithBytes(of: part)
    case .end: return text.utf8.dropFirst(missing).elementsEqual(part.utf8)
    }
  }

  func value(_ frame: inout Frame) -> JSONValue { holds(&frame).map { .bool($0) } ?? .null }
  func isTrue(_ frame: inout Frame) -> Bool { holds(&frame) ?? false }
}

extension String {
  func containsBytes(of part: String) -> Bool {
    if part.isEmpty { return true }
    var rest = utf8[...]
    while rest.count >= part.utf8.count {
      if rest.starts(with: part.utf8) { return true }
      rest.removeFirst()
    }
    return false
  }
}
