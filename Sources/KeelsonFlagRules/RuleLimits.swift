/// How large a rule may be. They bound the time and memory a compile and an evaluation take.
public struct RuleLimits: Sendable, Hashable {
  /// The rule's text, in UTF-8 bytes.
  public var textBytes: Int
  /// Operators, arrays and objects inside one another, segments counted where they are used.
  public var depth: Int
  /// Operators, operands and literals, segments counted once for each use.
  public var nodes: Int

  /// List elements visited and text bytes or list elements built, in one evaluation. An
  /// evaluation that needs more ends as a GENERAL error.
  public var evaluationSteps: Int

  public init(
    textBytes: Int = 64 << 10, depth: Int = 64, nodes: Int = 10_000,
    evaluationSteps: Int = 100_000
  ) {
    self.textBytes = textBytes
    self.depth = depth
    self.nodes = nodes
    self.evaluationSteps = evaluationSteps
  }

  public static let standard = RuleLimits()
}
