import KeelsonCore

// JsonLogic borrows JavaScript's coercions; these are the ones its operators use. Where flagd's
// engines differ among themselves, JsonLogic's own definition decides.
extension JSONValue {
  /// JsonLogic's truth: false, null, 0, NaN, "" and [] are false; "0" and {} are true.
  var isTruthy: Bool {
    switch self {
    case .null: false
    case .bool(let value): value
    case .number(let value): value != 0 && !value.isNaN
    case .string(let value): !value.isEmpty
    case .array(let value): !value.isEmpty
    case .object: true
    }
  }

  /// The value as a number for comparing and for `-`, `*`… : null and false are 0, true is 1, ""
  /// is 0, a list counts as its text, what is no number is NaN.
  var asNumber: Double {
    switch self {
    case .null: 0
    case .bool(let value): value ? 1 : 0
    case .number(let value): value
    case .string(let value): NumberText.whole(value)
    case .array: NumberText.whole(joinedText)
    case .object: .nan
    }
  }

  /// The number a text begins with, for `+` and `*`: "3 apples" is 3. null, booleans and objects
  /// are NaN.
  var leadingNumber: Double {
    switch self {
    case .number(let value): value
    case .string(let value): NumberText.leading(value)
    case .array: NumberText.leading(joinedText)
    case .null, .bool, .object: .nan
    }
  }

  /// The value as text for `cat`: null is empty, a list is its elements with commas.
  var joinedText: String {
    switch self {
    case .null: ""
    case .bool(let value): value ? "true" : "false"
    case .number(let value): NumberText.text(value)
    case .string(let value): value
    case .array(let elements): elements.map(\.joinedText).joined(separator: ",")
    case .object: "[object Object]"
    }
  }

  /// A few characters of the value for an error message.
  var excerpt: String {
    let whole = text
    return whole.count <= 60 ? whole : whole.prefix(60) + "…"
  }

  /// `===`: same type and same value. Texts are compared byte by byte, lists and objects by their
  /// contents.
  func isIdentical(to other: JSONValue) -> Bool {
    switch (self, other) {
    case (.null, .null): true
    case (.bool(let left), .bool(let right)): left == right
    case (.number(let left), .number(let right)): left == right
    case (.string(let left), .string(let right)): left.hasSameBytes(as: right)
    case (.array(let left), .array(let right)):
      left.count == right.count && zip(left, right).allSatisfy { $0.isIdentical(to: $1) }
    case (.object(let left), .object(let right)):
      left.count == right.count
        && left.allSatisfy { name, value in right[name]?.isIdentical(to: value) ?? false }
    default: false
    }
  }

  /// `==`: null equals only null; a list or object meets a text as its text; everything else of
  /// unlike type meets as numbers.
  func isLooselyEqual(to other: JSONValue) -> Bool {
    switch (self, other) {
    case (.string(let left), .string(let right)): left.hasSameBytes(as: right)
    case (.number(let left), .number(let right)): left == right
    case (.null, .null): true
    case (.null, _), (_, .null): false
    case (.bool(let left), .bool(let right)): left == right
    case (.array, .array), (.array, .object), (.object, .array), (.object, .object):
      isIdentical(to: other)
    case (.array, .string(let right)), (.object, .string(let right)):
      joinedText.hasSameBytes(as: right)
    case (.string(let left), .array), (.string(let left), .object):
      other.joinedText.hasSameBytes(as: left)
    default: asNumber == other.asNumber
    }
  }

  /// How the value stands to another: two texts (lists and objects count as theirs) by their code
  /// points, anything else as numbers; nil when one of them is no number.
  func ordering(to other: JSONValue) -> Ordering? {
    if case .number(let left) = self, case .number(let right) = other {
      return Ordering(left, right)
    }
    if let left = textWhenCompared, let right = other.textWhenCompared {
      return left.ordering(to: right)
    }
    return Ordering(asNumber, other.asNumber)
  }

  private var textWhenCompared: String? {
    switch self {
    case .string(let value): value
    case .array, .object: joinedText
    default: nil
    }
  }
}

enum Ordering: Sendable {
  case less
  case same
  case greater

  init?(_ left: Double, _ right: Double) {
    if left < right {
      self = .less
    } else if left == right {
      self = .same
    } else if left > right {
      self = .greater
    } else {
      return nil
    }
  }
}

extension String {
  /// By code points, which for UTF-8 is by bytes.
  func ordering(to other: String) -> Ordering {
    if utf8.lexicographicallyPrecedes(other.utf8) { return .less }
    return hasSameBytes(as: other) ? .same : .greater
  }
}
