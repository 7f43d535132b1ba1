public import KeelsonCore

/// Who or what a flag is evaluated for: a targeting key and named attributes.
///
/// A rule reads attributes with `{"var": "name"}` and the key with `{"var": "targetingKey"}`.
public struct EvaluationContext: Sendable, Hashable {
  /// What rollouts bucket by: a user, a session, a tenant. Stands before an attribute of the
  /// same name.
  public var targetingKey: String?
  /// Everything else rules may ask for, by name.
  public var attributes: [String: JSONValue]

  public init(targetingKey: String? = nil, attributes: [String: JSONValue] = [:]) {
    self.targetingKey = targetingKey
    self.attributes = attributes
  }

  /// A context with nothing in it.
  public init() {
    self.init(targetingKey: nil)
  }

  /// A context with nothing in it.
  public static let empty = EvaluationContext()

  /// The attribute of that name; nil removes it when set.
  public subscript(name: String) -> JSONValue? {
    get { attributes[name] }
    set { attributes[name] = newValue }
  }

  /// This context with `other` laid over it: what `other` names wins.
  public func merging(_ other: EvaluationContext) -> EvaluationContext {
    EvaluationContext(
      targetingKey: other.targetingKey ?? targetingKey,
      attributes: attributes.merging(other.attributes) { _, theirs in theirs })
  }
}

extension EvaluationContext: ExpressibleByDictionaryLiteral {
  /// Attributes by name. A string called `targetingKey` becomes the targeting key.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self.init(Dictionary(elements) { _, last in last })
  }

  /// Attributes by name. A string called `targetingKey` becomes the targeting key.
  public init(_ members: [String: JSONValue]) {
    var attributes = members
    var targetingKey: String?
    if case .string(let key)? = members["targetingKey"] {
      targetingKey = key
      attributes["targetingKey"] = nil
    }
    self.init(targetingKey: targetingKey, attributes: attributes)
  }
}
