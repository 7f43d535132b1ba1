import KeelsonCore

/// Makes keys and values of a JSON object: sections are parted by colons, elements of an array are
/// numbered from 0.
struct SecretFlattening {
  /// Of all sections inside one another.
  private static let maximumDepth = 32

  private(set) var values: [String: SecretValue] = [:]
  private var depth = 0

  /// - Parameters:
  ///   - what: what the object is, for sentences.
  ///   - store: whose it is.
  /// - Throws: ``SecretStoreError`` with code `malformed`.
  mutating func add(
    _ members: [String: JSONValue], of what: String, in store: String
  ) throws(SecretStoreError) {
    for (name, value) in members.sorted(by: { $0.key < $1.key }) {
      try add(value, at: name.replacing("__", with: ":"), what, store)
    }
  }

  private mutating func add(
    _ value: JSONValue, at key: String, _ what: String, _ store: String
  ) throws(SecretStoreError) {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maximumDepth else {
      throw SecretStoreError(
        .malformed, "\(store): \(what) has sections more than \(Self.maximumDepth) deep.")
    }
    switch value {
    case .object(let members):
      for (name, member) in members.sorted(by: { $0.key < $1.key }) {
        try add(member, at: "\(key):\(name.replacing("__", with: ":"))", what, store)
      }
    case .array(let elements):
      for (index, element) in elements.enumerated() {
        try add(element, at: "\(key):\(index)", what, store)
      }
    case .null: break
    case .string(let text): try set(text, at: key, what, store)
    // Numbers are texts already, as they were written.
    case .bool, .number: try set(value.text, at: key, what, store)
    }
  }

  private mutating func set(
    _ text: String, at key: String, _ what: String, _ store: String
  ) throws(SecretStoreError) {
    guard values.updateValue(SecretValue(text), forKey: key) == nil else {
      throw SecretStoreError(.malformed, "\(store): \(what) has the key \(key) twice.")
    }
  }
}
