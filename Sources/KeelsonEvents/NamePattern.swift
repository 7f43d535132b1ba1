import KeelsonCore

/// A name, or the beginning of names: `keelson.flags.*`.
struct NamePattern: Sendable, Hashable {
  /// What the name is, or begins with.
  let text: String
  let isPrefix: Bool

  /// - Throws: `RPCError` INVALID_ARGUMENT when it is empty, too long, or has a `*` that is not
  ///   its end.
  init(_ given: String, field: String, limits: EventLimits) throws {
    guard !given.isEmpty else {
      throw RPCError.invalidArgument(field: field, "is empty; leave it out or name something")
    }
    guard given.utf8.count <= limits.patternBytes else {
      throw RPCError.invalidArgument(
        field: field,
        "has \(given.utf8.count) bytes; at most \(limits.patternBytes) are allowed")
    }
    guard !given.utf8.contains(0) else {
      throw RPCError.invalidArgument(field: field, "holds a NUL character, which no name has")
    }
    isPrefix = given.hasSuffix("*")
    text = isPrefix ? String(given.dropLast()) : given
    guard !text.utf8.contains(UInt8(ascii: "*")) else {
      throw RPCError.invalidArgument(
        field: field, "has a '*' that is not at its end: '\(given.prefix(64))'")
    }
  }

  /// What comes after all names that begin with the text, in the order of bytes; nil when nothing
  /// does.
  var end: String? {
    var scalars = Array(text.unicodeScalars)
    while let last = scalars.popLast() {
      // There are no characters between these two.
      let next = last.value == 0xD7FF ? 0xE000 : last.value + 1
      guard let successor = Unicode.Scalar(next) else { continue }
      return String(String.UnicodeScalarView(scalars + [successor]))
    }
    return nil
  }

  func matches(_ name: String) -> Bool {
    isPrefix ? name.utf8.starts(with: text.utf8) : name == text
  }

  /// As it was written.
  var description: String { isPrefix ? text + "*" : text }
}

extension [NamePattern] {
  /// Whether any matches; without any, everything does.
  func matches(_ name: String) -> Bool {
    isEmpty || contains { $0.matches(name) }
  }

  /// The patterns of a request.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT when one is none, or they are too many.
  static func reading(_ given: [String], field: String, limits: EventLimits) throws -> Self {
    guard given.count <= limits.patterns else {
      throw RPCError.invalidArgument(
        field: field, "has \(given.count) entries; at most \(limits.patterns) are allowed")
    }
    return try given.enumerated().map {
      try NamePattern($1, field: "\(field)[\($0)]", limits: limits)
    }
  }
}
