/// The name of a setting: sections joined by `:`, `Database:Url` for example.
///
/// A section has letters, digits, `.`, `_` and `-`, a letter, digit or `_` first. Keys are told
/// apart by case, except where they come from environment variables.
package enum SettingKey {
  /// UTF-8 bytes that any key may have; a service may allow fewer.
  package static let maximumBytes = 1_024
  package static let separator: Character = ":"

  /// What is wrong with a key, a clause without the key itself; nil when it may be used.
  package static func problem(of key: String, maximumBytes: Int = maximumBytes) -> String? {
    guard !key.isEmpty else { return "is required" }
    guard key.utf8.count <= maximumBytes else {
      return "has \(key.utf8.count) bytes; at most \(maximumBytes) are allowed"
    }
    let isWellFormed = sections(of: key).allSatisfy { isSection($0) }
    return isWellFormed
      ? nil
      : "must be sections joined by ':', each of letters, digits, '.', '_' and '-', "
        + "a letter, digit or '_' first"
  }

  static func sections(of key: String) -> [Substring] {
    key.split(separator: separator, omittingEmptySubsequences: false)
  }

  static func isSection(_ section: Substring) -> Bool {
    var isFirst = true
    for byte in section.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F: break
      case 0x2D, 0x2E: if isFirst { return false }
      default: return false
      }
      isFirst = false
    }
    return !isFirst
  }

  /// A key below another, or the other itself where it is empty.
  static func joined(_ prefix: String, _ section: String) -> String {
    prefix.isEmpty ? section : "\(prefix):\(section)"
  }

  /// The key of an environment variable: `Database:Url` for `KEELSON__Database__Url` with the
  /// prefix `KEELSON__`; nil when it does not begin with the prefix or names nothing below it.
  package static func key(ofVariable name: String, prefix: String) -> String? {
    guard name.utf8.count > prefix.utf8.count,
      name.lowercased().hasPrefix(prefix.lowercased())
    else { return nil }
    return String(name.dropFirst(prefix.count)).replacing("__", with: ":")
  }
}
