import FoundationEssentials

/// How values are stored: bytes as they are, everything else as JSON.
enum CacheCoding {
  static func encode<Value: Encodable>(_ value: Value) throws -> [UInt8] {
    switch value {
    case let bytes as [UInt8]: bytes
    case let data as Data: Array(data)
    default: Array(try JSONEncoder().encode(value))
    }
  }

  /// - Throws: when the bytes are no such value.
  static func decode<Value: Decodable>(_ bytes: [UInt8], as type: Value.Type) throws -> Value {
    if let value = bytes as? Value { return value }
    if type == Data.self, let value = Data(bytes) as? Value { return value }
    return try JSONDecoder().decode(type, from: Data(bytes))
  }
}
