/// The rules of an application's settings.
package struct ConfigurationSchema: Sendable, Hashable {
  package let rules: [SettingRule]
  /// Whether a key that no rule names is a violation.
  package let isClosed: Bool
  private let byKey: [String: Int]
  /// The rules with wildcards, the most exact first.
  private let patterns: [Int]
  /// The keys that are objects or lists as a whole.
  private let wholeKeys: Set<String>
  private let unread: [Unread]

  /// A rule that this version does not understand, because a later one wrote it: a value is not
  /// checked by it, but what is a secret stays one.
  package struct Unread: Sendable, Hashable {
    /// nil: not even that is understood.
    var key: KeyPattern?
    var isSensitive: Bool

    package init(key: KeyPattern?, isSensitive: Bool) {
      self.key = key
      self.isSensitive = isSensitive
    }

    func matches(_ key: String) -> Bool { self.key?.matches(key) ?? true }
  }

  package init(_ rules: [SettingRule], isClosed: Bool, unread: [Unread] = []) {
    self.rules = rules
    self.isClosed = isClosed
    self.unread = unread
    byKey = Dictionary(
      rules.enumerated().filter { $1.key.isKey }.map { ($1.key.text, $0) },
      uniquingKeysWith: { first, _ in first })
    patterns = rules.enumerated().filter { !$1.key.isKey }
      .map { (index: $0, precision: $1.key.precision) }
      .sorted { left, right in
        left.precision == right.precision
          ? left.index < right.index
          : right.precision.lexicographicallyPrecedes(left.precision)
      }.map(\.index)
    wholeKeys = Set(
      rules.filter { $0.key.isKey && ($0.type == .object || $0.type == .list) }.map(\.key.text))
  }

  /// No rules: any key, any value.
  package static let open = ConfigurationSchema([], isClosed: false)

  /// The rule for a key: its own, or that of the most exact pattern.
  package func rule(for key: String) -> SettingRule? {
    if let index = byKey[key] { return rules[index] }
    guard !patterns.isEmpty else { return nil }
    let sections = SettingKey.sections(of: key)
    return patterns.first { rules[$0].key.matches(sections) }.map { rules[$0] }
  }

  /// Whether what a key has is a secret.
  package func isSensitive(_ key: String) -> Bool {
    rule(for: key)?.isSensitive == true || unread.contains { $0.isSensitive && $0.matches(key) }
  }

  /// Whether a rule that is not understood may be about a key.
  func isUnread(_ key: String) -> Bool { unread.contains { $0.matches(key) } }

  /// What finding the rule for a key takes of a budget.
  var stepsPerKey: Int { 1 + patterns.count + unread.count }

  /// The keys that have a rule of their own.
  package var keys: [String] { byKey.keys.sorted() }

  /// Whether an object at this key is one value, and not settings below it.
  func isWholeObject(_ key: String) -> Bool {
    rule(for: key)?.type == .object
  }

  /// The key above this one that is an object or a list as a whole.
  func wholeAncestor(of key: String) -> String? {
    guard !wholeKeys.isEmpty else { return nil }
    var rest = Substring(key)
    while let separator = rest.lastIndex(of: SettingKey.separator) {
      rest = rest[..<separator]
      if wholeKeys.contains(String(rest)) { return String(rest) }
    }
    return nil
  }

  /// ` (did you mean 'X'?)`, or nothing.
  func suggestion(for key: String) -> String {
    nearestKnown(to: key, among: keys)
  }
}
