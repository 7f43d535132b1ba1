/// Flags whose rules have changed. By the time one is read, evaluations use the new rules.
public struct FlagChange: Sendable, Hashable {
  /// More changed flags than this are not listed one by one.
  public static let maximumKeys = 10_000

  /// The flags that are new, different or gone. Which is which, an evaluation tells.
  public private(set) var keys: Set<String>
  /// Whether so many flags changed that ``keys`` does not name them: look at all that matter.
  public private(set) var isEverything: Bool
  /// The revision of the last change in here.
  public private(set) var revision: Int64

  init(keys: Set<String>, revision: Int64) {
    isEverything = keys.count > FlagChange.maximumKeys
    self.keys = isEverything ? [] : keys
    self.revision = revision
  }

  /// Whether a flag is, or may be, among the changed ones.
  public func concerns(_ key: String) -> Bool {
    isEverything || keys.contains(key)
  }

  /// Takes a later change into this one, for a reader that has not come yet.
  mutating func merge(_ later: FlagChange) {
    revision = later.revision
    guard !isEverything else { return }
    keys.formUnion(later.keys)
    if later.isEverything || keys.count > FlagChange.maximumKeys {
      isEverything = true
      keys = []
    }
  }
}
