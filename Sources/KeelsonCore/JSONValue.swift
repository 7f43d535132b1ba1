/// Any JSON value. Numbers are doubles, as in JSON's own interchange rules (RFC 8259, section 6).
public enum JSONValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])
}

extension JSONValue {
  /// Reads a JSON text.
  ///
  /// - Parameters:
  ///   - refusesRepeatedNames: whether an object with two members of one name is an error; else the
  ///     last of them counts.
  ///   - refusesInexactIntegers: whether a whole number of 2^53 or more is an error; else it becomes
  ///     the nearest double.
  /// - Throws: ``JSONError`` that says where the text breaks JSON's grammar, or that it nests
  ///   deeper than 512 levels.
  public init(
    parsing text: String, refusesRepeatedNames: Bool = false, refusesInexactIntegers: Bool = false
  ) throws {
    var reader = JSONReader(
      text, refusesRepeatedNames: refusesRepeatedNames,
      refusesInexactIntegers: refusesInexactIntegers)
    self = try reader.read()
  }

  /// The value as compact JSON text, object members sorted by name.
  public var text: String {
    var writer = JSONWriter()
    writer.write(self)
    return String(decoding: writer.bytes, as: UTF8.self)
  }
}

/// A text that is not JSON.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong, and where.
  public var message: String

  public init(message: String) {
    self.message = message
  }

  public var description: String { message }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral,
  ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(floatLiteral value: Double) { self = .number(value) }
  public init(integerLiteral value: Int) { self = .number(Double(value)) }
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(Dictionary(elements) { _, last in last })
  }
}
