/// Which settings a rule is for: a key, or one with `*` for any one section and, at its end, `**`
/// for any sections from one: `Endpoints:*:Url`, `Logging:**`.
package struct KeyPattern: Sendable, Hashable {
  package let text: String
  private let sections: [String]

  /// - Returns: nil when it is neither a key nor a pattern of keys.
  package init?(_ text: String) {
    let sections = text.split(separator: SettingKey.separator, omittingEmptySubsequences: false)
    guard text.utf8.count <= SettingKey.maximumBytes, !text.isEmpty else { return nil }
    for (index, section) in sections.enumerated() {
      let isWildcard = section == "*" || (section == "**" && index == sections.count - 1)
      guard isWildcard || SettingKey.isSection(section) else { return nil }
    }
    self.text = text
    self.sections = sections.map(String.init)
  }

  /// Whether it names one key only.
  package var isKey: Bool { !sections.contains { $0 == "*" || $0 == "**" } }

  /// How exactly each section says which keys: of two patterns that match a key, the one counts
  /// that says the first section more exactly, then the second, and so on.
  var precision: [UInt8] {
    sections.map { $0 == "**" ? 0 : $0 == "*" ? 1 : 2 }
  }

  package func matches(_ key: String) -> Bool { matches(SettingKey.sections(of: key)) }

  func matches(_ parts: [Substring]) -> Bool {
    for (index, section) in sections.enumerated() {
      if section == "**" { return parts.count > index }
      guard index < parts.count, section == "*" || section == parts[index] else { return false }
    }
    return parts.count == sections.count
  }
}
