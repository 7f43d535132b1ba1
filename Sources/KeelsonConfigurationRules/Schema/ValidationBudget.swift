import Synchronization

/// How much work the checks of one request may take, so that no schema and no value keep a server
/// busy for long: whoever checks several values hands the same budget to all the checks.
///
/// A step is one place of a pattern that is looked at for one character, one rule with wildcards
/// that is compared with a key, or one allowed value that is compared with a value: under 10 ns.
package final class ValidationBudget: Sendable {
  package static let defaultSteps = 10_000_000
  /// So many unknown keys are told the nearest known one: looking for it costs time.
  private static let maximumSuggestions = 20
  /// Bytes of violations that one merge tells.
  static let maximumViolationBytes = 8 << 20

  /// What the request may take in all.
  package let steps: Int
  private let left: Atomic<Int>
  private let suggestions: Atomic<Int>

  package convenience init(steps: Int = defaultSteps) {
    self.init(steps: steps, suggestions: Self.maximumSuggestions)
  }

  private init(steps: Int, suggestions: Int) {
    self.steps = steps
    left = Atomic(steps)
    self.suggestions = Atomic(suggestions)
  }

  /// For values that were checked within a budget before, and whose violations nobody reads.
  package static let unlimited = ValidationBudget(steps: .max, suggestions: 0)

  /// Takes steps off it.
  ///
  /// - Returns: whether there were so many.
  func take(_ steps: Int) -> Bool {
    left.subtract(steps, ordering: .relaxed).newValue >= 0
  }

  /// Whether something was not checked because there was nothing left.
  package var isSpent: Bool { left.load(ordering: .relaxed) < 0 }

  /// Whether one more unknown key may be told the nearest known one.
  func takeSuggestion() -> Bool {
    suggestions.load(ordering: .relaxed) > 0
      && suggestions.subtract(1, ordering: .relaxed).newValue >= 0
  }

  /// What a value is told that was not checked to its end.
  var message: String {
    "was not checked to the end: the checks of this request take more than \(steps) steps; change "
      + "fewer settings at once, or make the patterns of the schema simpler"
  }
}
