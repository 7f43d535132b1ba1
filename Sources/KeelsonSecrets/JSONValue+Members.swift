import KeelsonCore
import KeelsonHTTP

extension JSONValue {
  /// A member of an object; nil when this is none, or has no such member.
  subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members[name]
  }

  var stringValue: String? {
    guard case .string(let text) = self else { return nil }
    return text
  }

  var numberValue: Double? {
    guard case .number(let number) = self else { return nil }
    return number
  }

  var boolValue: Bool? {
    guard case .bool(let value) = self else { return nil }
    return value
  }

  var arrayValue: [JSONValue]? {
    guard case .array(let values) = self else { return nil }
    return values
  }
}

extension JSONValue {
  /// Reads a JSON text and leaves its numbers as the texts that they are: of a number that stands
  /// for a secret not a digit may change.
  ///
  /// - Returns: nil when it is no JSON.
  init?(keepingNumbersOf text: String) {
    guard (try? JSONValue(parsing: text)) != nil else { return nil }
    let quote = UInt8(ascii: "\"")
    var quoted: [UInt8] = []
    var isInString = false
    var isInNumber = false
    var isEscaped = false
    for byte in text.utf8 {
      let begins = byte == UInt8(ascii: "-") || (0x30...0x39).contains(byte)
      let isOfNumber = !isInString && (begins || (isInNumber && "+.eE".utf8.contains(byte)))
      if isInNumber != isOfNumber {
        isInNumber = isOfNumber
        quoted.append(quote)
      }
      quoted.append(byte)
      if isEscaped {
        isEscaped = false
      } else if byte == quote {
        isInString.toggle()
      } else {
        isEscaped = isInString && byte == UInt8(ascii: "\\")
      }
    }
    if isInNumber { quoted.append(quote) }
    guard let value = try? JSONValue(parsing: String(decoding: quoted, as: UTF8.self)) else {
      return nil
    }
    self = value
  }
}

extension HTTPResponse {
  /// The body as JSON; nil when it is none.
  var json: JSONValue? {
    guard let text = body.validText else { return nil }
    return try? JSONValue(parsing: text)
  }

  /// The same with numbers as their texts.
  var jsonKeepingNumbers: JSONValue? { body.validText.flatMap(JSONValue.init(keepingNumbersOf:)) }
}
