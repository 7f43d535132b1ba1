/// How names are carried from .proto to Swift and to C.
enum Names {
  /// `keelson.flags.v1` becomes `KeelsonFlagsV1`.
  static func namespace(package: String) -> String {
    package.split(separator: ".").map { upperCamel(String($0)) }.joined()
  }

  /// `flag_set` becomes `FlagSet`.
  static func upperCamel(_ name: String) -> String {
    name.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
  }

  /// `flag_set` becomes `flagSet`, `CreateFlag` becomes `createFlag`.
  static func lowerCamel(_ name: String) -> String {
    let camel = upperCamel(name)
    let lowered = camel.prefix(1).lowercased() + camel.dropFirst()
    return lowered.first?.isNumber == true ? "_" + lowered : lowered
  }

  /// `NOT_SERVING` becomes `notServing`.
  static func enumCase(_ name: String) -> String {
    let isUpper = !name.contains { $0.isLowercase }
    return lowerCamel(isUpper ? name.lowercased() : name)
  }

  /// `FlagType` becomes `FLAG_TYPE_`, what its values' names usually begin with.
  static func enumPrefix(_ name: String) -> String {
    var prefix = ""
    var previous: Character = "_"
    for character in name {
      if character.isUppercase, previous.isLowercase || previous.isNumber { prefix += "_" }
      prefix += character.uppercased()
      previous = character
    }
    return prefix + "_"
  }

  /// The name, in back-ticks where it is a keyword.
  static func escaped(_ name: String) -> String {
    keywords.contains(name) ? "`\(name)`" : name
  }

  private static let keywords: Set<String> = [
    "Any", "Protocol", "Self", "Type", "as", "associatedtype", "await", "borrowing", "break",
    "case", "catch", "class", "consuming", "continue", "default", "defer", "deinit", "do", "else",
    "enum", "extension", "fallthrough", "false", "fileprivate", "for", "func", "guard", "if",
    "import", "in", "init", "inout", "internal", "is", "let", "nil", "nonisolated", "operator",
    "precedencegroup", "private", "protocol", "public", "repeat", "rethrows", "return", "self",
    "static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try",
    "typealias", "unsafe", "var", "where", "while",
  ]

  /// The C struct that protoc-gen-c makes of a message: `keelson.flags.v1.FlagSet` becomes
  /// `Keelson__Flags__V1__FlagSet`.
  static func cType(_ fullName: String) -> String {
    fullName.split(separator: ".").map { upperCamel(String($0)) }.joined(separator: "__")
  }

  /// What protoc-gen-c begins a message's functions with: `keelson__flags__v1__flag_set`.
  static func cFunctionPrefix(_ fullName: String) -> String {
    fullName.split(separator: ".").map { piece in
      var lower = ""
      var wasUpper = true
      for character in piece {
        if character.isUppercase, !wasUpper { lower += "_" }
        lower += character.lowercased()
        wasUpper = character.isUppercase
      }
      return lower
    }.joined(separator: "__")
  }
}
