/// Settings that have changed. By the time one is read, reads give the new values.
public struct SettingsChange: Sendable, Hashable {
  /// The settings that are new, different or gone.
  public internal(set) var keys: Set<String>
  /// The revision of the last change in here.
  public internal(set) var revision: Int64

  /// Whether a setting is among the changed ones.
  public func concerns(_ key: String) -> Bool { keys.contains(key) }

  /// Whether a setting of a section is among them: `Database` for `Database:Url`.
  public func concerns(section: String) -> Bool {
    keys.contains { $0 == section || $0.hasPrefix(section + ":") }
  }
}
