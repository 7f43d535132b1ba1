/// Why a rule cannot be used: which place in it, which operator, what is wrong and what would be
/// right.
public struct RuleError: Error, Sendable, Hashable {
  /// The place, from the rule's outermost operator inwards: `if[1].fractional[0]`. Empty when the
  /// rule as a whole is meant, `variants.<name>` or `defaultVariant` when those are. Inside a segment it starts with `$evaluators.<name>`.
  public var path: String
  /// The operator at fault, or around what is; empty when the fault is in no operator.
  public var `operator`: String
  /// What is wrong and what would be right.
  public var message: String

  public init(path: String, operator: String, message: String) {
    self.path = path
    self.operator = `operator`
    self.message = message
  }
}

extension RuleError: CustomStringConvertible {
  public var description: String {
    if path.isEmpty { return "targeting: \(message)" }
    return `operator`.isEmpty ? "\(path): \(message)" : "targeting at \(path): \(message)"
  }
}
