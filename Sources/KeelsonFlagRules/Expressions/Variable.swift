import KeelsonCore

/// A dotted path, split once: `user.roles.0`.
struct VariablePath: Sendable {
  struct Component: Sendable {
    let name: String
    /// The name as a list index, when it is one.
    let index: Int?
  }

  let components: [Component]

  init(_ text: String) {
    components = text.split(separator: ".", omittingEmptySubsequences: false).map { part in
      let index = Int(part)
      return Component(
        name: String(part), index: index.flatMap { $0 >= 0 && String($0) == part ? $0 : nil })
    }
  }

  /// What stands at the path below a value; nil when nothing or null does.
  func find(in value: JSONValue, from start: Int = 0) -> JSONValue? {
    var value = value
    for component in components[start...] {
      switch value {
      case .object(let members):
        guard let member = members[component.name] else { return nil }
        value = member
      case .array(let elements):
        guard let index = component.index, index < elements.count else { return nil }
        value = elements[index]
      default:
        return nil
      }
    }
    return value == .null ? nil : value
  }

  /// What stands at the path in what `var` reads; nil when nothing or null does.
  func find(in scope: VariableScope, _ frame: borrowing Frame) -> JSONValue? {
    switch scope {
    case .element: return find(in: frame.element)
    case .reduction:
      switch components[0].name {
      case "current": return find(in: frame.current, from: 1)
      case "accumulator": return find(in: frame.accumulator, from: 1)
      default: return nil
      }
    case .context:
      switch components[0].name {
      case "targetingKey":
        if let key = frame.context.targetingKey { return find(in: .string(key), from: 1) }
      case "$flagd":
        return find(in: frame.flagdProperties, from: 1)
      default:
        break
      }
      guard let value = frame.context.attributes[components[0].name] else { return nil }
      return find(in: value, from: 1)
    }
  }
}

extension Frame {
  var flagdProperties: JSONValue {
    .object([
      "flagKey": .string(decisions.flagKey), "timestamp": .number(Double(timestampSeconds)),
    ])
  }

  /// All that `var` reads, as one value: what `{"var": ""}` gives.
  func everything(in scope: VariableScope) -> JSONValue {
    switch scope {
    case .element: return element
    case .reduction: return .object(["current": current, "accumulator": accumulator])
    case .context:
      var members = context.attributes
      if let key = context.targetingKey { members["targetingKey"] = .string(key) }
      members["$flagd"] = flagdProperties
      return .object(members)
    }
  }
}

/// `var` naming one attribute of the context: by far the most frequent expression.
final class Attribute: Expression {
  let name: String
  let fallback: (any Expression)?

  init(_ name: String, fallback: (any Expression)?) {
    self.name = name
    self.fallback = fallback
  }

  func value(_ frame: inout Frame) -> JSONValue {
    if let value = frame.context.attributes[name] {
      if case .null = value {} else { return value }
    }
    return fallback?.value(&frame) ?? .null
  }
}

/// `var` naming the targeting key.
final class TargetingKey: Expression {
  let fallback: (any Expression)?

  init(fallback: (any Expression)?) {
    self.fallback = fallback
  }

  func value(_ frame: inout Frame) -> JSONValue {
    if let key = frame.context.targetingKey { return .string(key) }
    if let value = frame.context.attributes["targetingKey"], value != .null { return value }
    return fallback?.value(&frame) ?? .null
  }
}

/// `{"var": "$flagd.timestamp"}`: Unix time in whole seconds.
final class Timestamp: Expression {
  func value(_ frame: inout Frame) -> JSONValue {
    .number(Double(frame.timestampSeconds))
  }
}

/// `var` with a path known when the rule is compiled. null at the path counts as nothing.
final class PathVariable: Expression {
  let path: VariablePath
  let scope: VariableScope
  let fallback: (any Expression)?

  init(_ path: VariablePath, scope: VariableScope, fallback: (any Expression)?) {
    self.path = path
    self.scope = scope
    self.fallback = fallback
  }

  func value(_ frame: inout Frame) -> JSONValue {
    path.find(in: scope, frame) ?? fallback?.value(&frame) ?? .null
  }
}

/// `{"var": ""}`: everything in scope.
final class WholeScope: Expression {
  let scope: VariableScope

  init(_ scope: VariableScope) {
    self.scope = scope
  }

  func value(_ frame: inout Frame) -> JSONValue {
    frame.everything(in: scope)
  }
}

/// `var` whose path the rule computes.
final class ComputedVariable: Expression {
  let path: any Expression
  let scope: VariableScope
  let fallback: (any Expression)?

  init(_ path: any Expression, scope: VariableScope, fallback: (any Expression)?) {
    self.path = path
    self.scope = scope
    self.fallback = fallback
  }

  func value(_ frame: inout Frame) -> JSONValue {
    let text = path.value(&frame).joinedText
    if text.isEmpty { return frame.everything(in: scope) }
    return VariablePath(text).find(in: scope, frame) ?? fallback?.value(&frame) ?? .null
  }
}

/// `missing`: those of the given names that lead to nothing, null or "".
final class Missing: Expression {
  let names: [any Expression]
  let scope: VariableScope

  init(_ names: [any Expression], scope: VariableScope) {
    self.names = names
    self.scope = scope
  }

  func value(_ frame: inout Frame) -> JSONValue {
    var keys: [JSONValue] = []
    for (position, name) in names.enumerated() {
      let value = name.value(&frame)
      if position == 0, case .array(let list) = value {
        keys = list
        break
      }
      keys.append(value)
    }
    return .array(Missing.missing(keys, in: scope, &frame))
  }

  static func missing(
    _ keys: [JSONValue], in scope: VariableScope, _ frame: inout Frame
  ) -> [JSONValue] {
    guard frame.spend(keys.count) else { return [] }
    return keys.filter { key in
      let name = key.joinedText
      if name.isEmpty { return false }
      guard let value = VariablePath(name).find(in: scope, frame) else { return true }
      return value == .string("")
    }
  }
}

/// `missing_some`: [] when at least so many of the names are there, else those missing.
final class MissingSome: Expression {
  let needed: any Expression
  let names: any Expression
  let scope: VariableScope

  init(_ needed: any Expression, _ names: any Expression, scope: VariableScope) {
    self.needed = needed
    self.names = names
    self.scope = scope
  }

  func value(_ frame: inout Frame) -> JSONValue {
    let needed = needed.value(&frame).asNumber
    guard case .array(let keys) = names.value(&frame) else { return .array([]) }
    let missing = Missing.missing(keys, in: scope, &frame)
    return .array(Double(keys.count - missing.count) >= needed ? [] : missing)
  }
}
