import KeelsonCore

@testable import KeelsonFlagRules

/// JsonLogic read off its definition: slow, and without anything the compiler does beforehand.
struct ReferenceInterpreter {
  typealias Value = JSONValue

  func evaluate(_ rule: Value, _ data: Value) -> Value {
    if case .array(let list) = rule { return .array(list.map { evaluate($0, data) }) }
    guard case .object(let members) = rule, let (name, given) = members.first else { return rule }
    let operands: [Value]
    if case .array(let list) = given { operands = list } else { operands = [given] }
    func raw(_ index: Int) -> Value { index < operands.count ? operands[index] : .null }
    func get(_ index: Int) -> Value { evaluate(raw(index), data) }
    var all: [Value] { operands.map { evaluate($0, data) } }
    func elements(_ value: Value) -> [Value] {
      if case .array(let list) = value { list } else { [] }
    }

    switch name {
    case "var":
      let found = look(text(get(0)), data)
      return found == .null ? get(1) : found
    case "missing":
      var keys = all
      if case .array(let list)? = keys.first { keys = list }
      return .array(missing(keys, data))
    case "missing_some":
      guard case .array(let keys) = get(1) else { return [] }
      let gone = missing(keys, data)
      return .array(Double(keys.count - gone.count) >= number(get(0)) ? [] : gone)
    case "if", "?:":
      var rest = operands[...]
      while rest.count >= 2 {
        if truth(evaluate(rest.removeFirst(), data)) { return evaluate(rest.removeFirst(), data) }
        rest.removeFirst()
      }
      return rest.first.map { evaluate($0, data) } ?? .null
    case "and":
      for (index, operand) in operands.enumerated() {
        let value = evaluate(operand, data)
        if !truth(value) || index == operands.count - 1 { return value }
      }
      return .null
    case "or":
      for (index, operand) in operands.enumerated() {
        let value = evaluate(operand, data)
        if truth(value) || index == operands.count - 1 { return value }
      }
      return .null
    case "!": return .bool(!truth(get(0)))
    case "!!": return .bool(truth(get(0)))
    case "==": return .bool(loose(get(0), get(1)))
    case "!=": return .bool(!loose(get(0), get(1)))
    case "===": return .bool(get(0) == get(1) && !isNaN(get(0)))
    case "!==": return .bool(get(0) != get(1) || isNaN(get(0)))
    case "<", "<=", ">", ">=":
      let values = all
      let pairs = values.count > 2 ? [(0, 1), (1, 2)] : [(0, 1)]
      return .bool(
        pairs.allSatisfy { left, right in
          compare(
            name, values.count > left ? values[left] : .null,
            values.count > right ? values[right] : .null)
        })
    case "+": return .number(all.reduce(0) { $0 + leading($1) })
    case "*": return .number(all.reduce(1) { $0 * leading($1) })
    case "-":
      return .number(operands.count == 1 ? -number(get(0)) : number(get(0)) - number(get(1)))
    case "max", "min":
      let numbers = all.map(number)
      if numbers.contains(where: \.isNaN) { return .number(.nan) }
      let extreme = name == "max" ? numbers.max() : numbers.min()
      return .number(extreme ?? (name == "max" ? -.infinity : .infinity))
    case "map": return .array(elements(get(0)).map { evaluate(raw(1), $0) })
    case "filter": return .array(elements(get(0)).filter { truth(evaluate(raw(1), $0)) })
    case "all":
      let list = elements(get(0))
      return .bool(!list.isEmpty && list.allSatisfy { truth(evaluate(raw(1), $0)) })
    case "none": return .bool(!elements(get(0)).contains { truth(evaluate(raw(1), $0)) })
    case "some": return .bool(elements(get(0)).contains { truth(evaluate(raw(1), $0)) })
    case "reduce":
      return elements(get(0)).reduce(get(2)) { result, element in
        evaluate(raw(1), ["current": element, "accumulator": result])
      }
    case "merge":
      return .array(
        all.flatMap { value in
          if case .array(let list) = value { list } else { [value] }
        })
    case "in":
      let needle = get(0)
      switch get(1) {
      case .array(let list): return .bool(!isNaN(needle) && list.contains(needle))
      case .string(let hay):
        switch needle {
        case .string, .number, .bool:
          let part = Array(text(needle).utf8)
          let bytes = Array(hay.utf8)
          return .bool(
            part.isEmpty
              || bytes.indices.contains { Array(bytes[$0...].prefix(part.count)) == part })
        default: return false
        }
      default: return false
      }
    case "cat": return .string(all.map(text).joined())
    case "starts_with", "ends_with":
      guard operands.count == 2, case .string(let whole) = get(0), case .string(let part) = get(1)
      else { return .null }
      return .bool(name == "starts_with" ? whole.hasPrefix(part) : whole.hasSuffix(part))
    default: fatalError("the reference has no \(name)")
    }
  }

  private func look(_ path: String, _ data: Value) -> Value {
    if path.isEmpty { return data }
    return path.split(separator: ".", omittingEmptySubsequences: false).reduce(data) {
      value, part in
      switch value {
      case .object(let members): members[String(part)] ?? .null
      case .array(let list):
        list.indices.first { String($0) == part }.map { list[$0] } ?? .null
      default: .null
      }
    }
  }

  private func missing(_ keys: [Value], _ data: Value) -> [Value] {
    keys.filter { [.null, ""].contains(look(text($0), data)) }
  }

  private func isNaN(_ value: Value) -> Bool {
    if case .number(let number) = value { number.isNaN } else { false }
  }

  private func truth(_ value: Value) -> Bool {
    !isNaN(value) && ![.null, false, 0, "", []].contains(value)
  }

  private func text(_ value: Value) -> String {
    switch value {
    case .null: ""
    case .bool(let flag): "\(flag)"
    case .number(let number): NumberText.text(number)
    case .string(let text): text
    case .array(let list): list.map(text).joined(separator: ",")
    case .object: "[object Object]"
    }
  }

  private func number(_ value: Value) -> Double {
    switch value {
    case .null: 0
    case .bool(let flag): flag ? 1 : 0
    case .number(let number): number
    case .string, .array: text(value).isEmpty ? 0 : Double(text(value)) ?? .nan
    case .object: .nan
    }
  }

  private func leading(_ value: Value) -> Double {
    switch value {
    case .null, .bool, .object: return .nan
    case .number(let number): return number
    case .string, .array:
      let characters = Array(text(value))
      let prefixes = (0...characters.count).reversed().lazy.map { String(characters[..<$0]) }
      return prefixes.compactMap { $0.hasSuffix(".") ? nil : Double($0) }.first ?? .nan
    }
  }

  private func loose(_ left: Value, _ right: Value) -> Bool {
    func isList(_ value: Value) -> Bool {
      switch value {
      case .array, .object: true
      default: false
      }
    }
    if left == .null || right == .null { return left == right }
    if isList(left), isList(right) { return left == right }
    if case .string(let text) = left, isList(right) { return text == self.text(right) }
    if case .string(let text) = right, isList(left) { return text == self.text(left) }
    if case .string(let left) = left, case .string(let right) = right { return left == right }
    return number(left) == number(right)
  }

  private func compare(_ relation: String, _ left: Value, _ right: Value) -> Bool {
    func isText(_ value: Value) -> Bool {
      switch value {
      case .string, .array, .object: true
      default: false
      }
    }
    if isText(left), isText(right) {
      let (left, right) = (text(left), text(right))
      switch relation {
      case "<": return left < right
      case "<=": return left <= right
      case ">": return left > right
      default: return left >= right
      }
    }
    let (left, right) = (number(left), number(right))
    switch relation {
    case "<": return left < right
    case "<=": return left <= right
    case ">": return left > right
    default: return left >= right
    }
  }
}
