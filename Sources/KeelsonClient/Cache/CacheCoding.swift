import FoundationEssentials

/// How values are stored: bytes as they are, everything else as JSON.
enum CacheCoding {
  static func encode<Value: Encodable>(_ value: Value) throws -> [UInt8] {
    // By type: an empty array of any elements is `as [UInt8]`, too.
    if Value.self == [UInt8].self, let bytes = value as? [UInt8] { return bytes }
    if Value.self == Data.self, let data = value as? Data { return Array(data) }
    return Array(try JSONEncoder().encode(value))
  }

  /// - Throws: when the bytes are no such value.
  static func decode<Value: Decodable>(_ bytes: [UInt8], as type: Value.Type) throws -> Value {
    if type == [UInt8].self, let value = bytes as? Value { return value }
    if type == Data.self, let value = Data(bytes) as? Value { return value }
    return try JSONDecoder().decode(type, from: Data(bytes))
  }
}
