import KeelsonCore

/// `map` and `filter`. What is no list counts as an empty one.
final class Transform: Expression {
  enum Kind: Sendable { case map, filter }

  let kind: Kind
  let list: any Expression
  let body: any Expression

  init(_ kind: Kind, _ list: any Expression, _ body: any Expression) {
    self.kind = kind
    self.list = list
    self.body = body
  }

  func value(_ frame: inout Frame) -> JSONValue {
    guard case .array(let elements) = list.value(&frame) else { return .array([]) }
    let outer = frame.element
    defer { frame.element = outer }
    var results: [JSONValue] = []
    for element in elements {
      guard frame.spend(1) else { return .null }
      frame.element = element
      switch kind {
      case .map: results.append(body.value(&frame))
      case .filter: if body.isTrue(&frame) { results.append(element) }
      }
    }
    return .array(results)
  }
}

/// `all`, `none` and `some`. Of an empty list, and of what is no list, `none` holds and the others
/// do not.
final class Quantifier: BooleanExpression {
  enum Kind: Sendable { case all, none, some }

  let kind: Kind
  let list: any Expression
  let body: any Expression

  init(_ kind: Kind, _ list: any Expression, _ body: any Expression) {
    self.kind = kind
    self.list = list
    self.body = body
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    guard case .array(let elements) = list.value(&frame), !elements.isEmpty else {
      return kind == .none
    }
    let outer = frame.element
    defer { frame.element = outer }
    for element in elements {
      guard frame.spend(1) else { return false }
      frame.element = element
      let holds = body.isTrue(&frame)
      switch kind {
      case .all: if !holds { return false }
      case .none: if holds { return false }
      case .some: if holds { return true }
      }
    }
    return kind != .some
  }
}

/// `reduce`: the body sees `current` and `accumulator`. What is no list gives the initial value.
final class Reduce: Expression {
  let list: any Expression
  let body: any Expression
  let initial: any Expression

  init(_ list: any Expression, _ body: any Expression, initial: any Expression) {
    self.list = list
    self.body = body
    self.initial = initial
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var result = initial.value(&frame)
    guard case .array(let elements) = list.value(&frame) else { return result }
    let outer = (frame.current, frame.accumulator)
    defer { (frame.current, frame.accumulator) = outer }
    for element in elements {
      guard frame.spend(1) else { return .null }
      frame.current = element
      frame.accumulator = result
      result = body.value(&frame)
    }
    return result
  }
}

/// `merge`: lists laid end to end; what is no list counts as a list of one.
final class Merge: Expression {
  let operands: [any Expression]

  init(_ operands: [any Expression]) {
    self.operands = operands
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var merged: [JSONValue] = []
    for operand in operands {
      switch operand.value(&frame) {
      case .array(let elements):
        guard frame.spend(elements.count) else { return .null }
        merged += elements
      case let single:
        merged.append(single)
      }
    }
    return .array(merged)
  }
}

/// `in`: an element of a list (compared as `===`), or a part of a text. A number or boolean is
/// looked for in a text as it is written; null is in no text.
final class Membership: BooleanExpression {
  let needle: any Expression
  let haystack: any Expression

  init(_ needle: any Expression, _ haystack: any Expression) {
    self.needle = needle
    self.haystack = haystack
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    let needle = needle.value(&frame)
    switch haystack.value(&frame) {
    case .array(let elements):
      guard frame.spend(elements.count) else { return false }
      return elements.contains { $0.isIdentical(to: needle) }
    case .string(let text):
      guard frame.spend(text.utf8.count) else { return false }
      switch needle {
      case .string(let part): return text.containsBytes(of: part)
      case .number, .bool: return text.containsBytes(of: needle.joinedText)
      default: return false
      }
    default:
      return false
    }
  }
}

/// `in` with a list that stands in the rule and holds no lists or objects.
final class LiteralMembership: BooleanExpression {
  /// From so many elements on, hashing beats comparing one by one.
  static let smallestHashedCount = 9

  let needle: any Expression
  private let elements: [JSONValue]
  private let hashed: Set<JSONValue>?

  init(_ needle: any Expression, _ elements: [JSONValue]) {
    self.needle = needle
    self.elements = elements
    guard elements.count >= LiteralMembership.smallestHashedCount else {
      hashed = nil
      return
    }
    // Swift's sets hold canonically equivalent texts for one: such a list is searched in order.
    let set = Set(elements)
    let merges = elements.contains { element in
      set.firstIndex(of: element).map { !set[$0].isIdentical(to: element) } ?? true
    }
    hashed = merges ? nil : set
  }

  func isTrue(_ frame: inout Frame) -> Bool {
    let needle = needle.value(&frame)
    if let hashed {
      guard let index = hashed.firstIndex(of: needle) else { return false }
      return hashed[index].isIdentical(to: needle)
    }
    for element in elements where element.isIdentical(to: needle) { return true }
    return false
  }
}
