/// Reads JSON text strictly. Source: RFC 8259.
struct JSONReader {
  /// Arrays and objects inside one another.
  static let maximumDepth = 512

  private let bytes: [UInt8]
  private var position = 0
  private var depth = 0

  private let refusesRepeatedNames: Bool
  private let refusesInexactIntegers: Bool

  init(_ text: String, refusesRepeatedNames: Bool, refusesInexactIntegers: Bool) {
    bytes = Array(text.utf8)
    self.refusesRepeatedNames = refusesRepeatedNames
    self.refusesInexactIntegers = refusesInexactIntegers
  }

  /// The one value that the whole text is.
  mutating func read() throws -> JSONValue {
    let value = try readValue()
    skipSpace()
    guard position == bytes.count else { throw error("something follows the value") }
    return value
  }

  private mutating func readValue() throws -> JSONValue {
    skipSpace()
    switch peek {
    case UInt8(ascii: "{"): return try nested { try $0.readObject() }
    case UInt8(ascii: "["): return try nested { try $0.readArray() }
    case UInt8(ascii: "\""): return .string(try readString())
    case UInt8(ascii: "t"): return try readWord("true", .bool(true))
    case UInt8(ascii: "f"): return try readWord("false", .bool(false))
    case UInt8(ascii: "n"): return try readWord("null", .null)
    case let byte? where isDigit(byte) || byte == UInt8(ascii: "-"): return try readNumber()
    case nil: throw error("the text ends where a value should be")
    default: throw error("a value cannot begin with \(shown)")
    }
  }

  private mutating func nested(_ read: (inout JSONReader) throws -> JSONValue) throws -> JSONValue {
    depth += 1
    guard depth <= JSONReader.maximumDepth else {
      throw error("it nests deeper than \(JSONReader.maximumDepth) levels")
    }
    position += 1
    let value = try read(&self)
    depth -= 1
    return value
  }

  private mutating func readObject() throws -> JSONValue {
    var members: [String: JSONValue] = [:]
    skipSpace()
    if take("}") { return .object(members) }
    repeat {
      skipSpace()
      guard peek == UInt8(ascii: "\"") else {
        throw error("a name in quotes should stand here")
      }
      let name = try readString()
      skipSpace()
      guard take(":") else { throw error("':' should stand here") }
      let before = members.updateValue(try readValue(), forKey: name)
      guard before == nil || !refusesRepeatedNames else {
        throw error("the object has the name \"\(name)\" twice")
      }
      skipSpace()
    } while take(",")
    guard take("}") else { throw error("',' or '}' should stand here") }
    return .object(members)
  }

  private mutating func readArray() throws -> JSONValue {
    var values: [JSONValue] = []
    skipSpace()
    if take("]") { return .array(values) }
    repeat {
      values.append(try readValue())
      skipSpace()
    } while take(",")
    guard take("]") else { throw error("',' or ']' should stand here") }
    return .array(values)
  }

  private mutating func readWord(_ word: StaticString, _ value: JSONValue) throws -> JSONValue {
    for byte in word.description.utf8 {
      guard peek == byte else { throw error("'\(word)' should stand here") }
      position += 1
    }
    return value
  }

  private mutating func readNumber() throws -> JSONValue {
    let start = position
    _ = take("-")
    if !take("0") { try readDigits() }
    if take(".") { try readDigits() }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      try readDigits()
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    guard let number = Double(text), number.isFinite else {
      throw error("the number is too large")
    }
    if refusesInexactIntegers, number.magnitude >= 0x1p53, text.allSatisfy(isWhole) {
      throw error("a whole number as large as \(text) would not be kept to the last digit")
    }
    return .number(number)
  }

  /// Whether a character is of a number without a fraction or an exponent.
  private func isWhole(_ character: Character) -> Bool {
    character == "-" || character.isWholeNumber
  }

  private mutating func readDigits() throws {
    guard let first = peek, isDigit(first) else { throw error("a digit should stand here") }
    while let byte = peek, isDigit(byte) { position += 1 }
  }

  private mutating func readString() throws -> String {
    position += 1
    var text: [UInt8] = []
    var start = position
    while let byte = peek {
      switch byte {
      case UInt8(ascii: "\""):
        text += bytes[start..<position]
        position += 1
        return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"):
        text += bytes[start..<position]
        position += 1
        text += Array(String(try readEscape()).utf8)
        start = position
      case 0..<0x20: throw error("a control character must be escaped")
      default: position += 1
      }
    }
    throw error("the text ends inside a string")
  }

  private mutating func readEscape() throws -> Character {
    guard let byte = peek else { throw error("the text ends inside a string") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
      return Character(Unicode.Scalar(byte))
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      var code = try readHexadecimal()
      if (0xD800...0xDBFF).contains(code), take("\\"), take("u") {
        let low = try readHexadecimal()
        guard (0xDC00...0xDFFF).contains(low) else { throw error("half of a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw error("half of a surrogate pair") }
      return Character(scalar)
    default: throw error("an escape that JSON does not have")
    }
  }

  private mutating func readHexadecimal() throws -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek,
        let digit = Character(Unicode.Scalar(byte)).hexDigitValue
      else {
        throw error("four hexadecimal digits should stand here")
      }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }

  // MARK: Bytes

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard peek == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func skipSpace() {
    while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      position += 1
    }
  }

  private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private var shown: String {
    let rest = String(decoding: bytes[position...].prefix(4), as: UTF8.self)
    return rest.first.map { "'\($0)'" } ?? "nothing"
  }

  private func error(_ problem: String) -> JSONError {
    let before = String(decoding: bytes[..<position], as: UTF8.self)
    let lines = before.split(separator: "\n", omittingEmptySubsequences: false)
    let column = (lines.last?.count ?? 0) + 1
    return JSONError(
      message: "not valid JSON: \(problem) (line \(max(1, lines.count)), column \(column))")
  }
}
