import KeelsonCore

/// A key as a dictionary or a set has to hold it: by its bytes. Strings compare as text, and two keys that
/// are spelled differently (`é` as one character or as two) are two keys.
package struct BytewiseKey: Sendable, Hashable {
  package let text: String

  package init(_ text: String) {
    self.text = text
  }

  package static func == (one: Self, other: Self) -> Bool {
    one.text.hasSameBytes(as: other.text)
  }

  package func hash(into hasher: inout Hasher) { text.hashBytes(into: &hasher) }
}
