/// What Redis answers to a command.
package enum RedisReply: Sendable, Hashable {
  case bytes([UInt8])
  case integer(Int64)
  case null
  case array([RedisReply])
  case error(String)

  /// The bytes; nil for anything else.
  package var bytes: [UInt8]? {
    if case .bytes(let bytes) = self { bytes } else { nil }
  }

  /// The bytes as text; nil for anything else.
  package var text: String? {
    bytes.map { String(decoding: $0, as: UTF8.self) }
  }

  /// The number, also when it is written as text.
  package var number: Int64? {
    switch self {
    case .integer(let number): number
    case .bytes: text.flatMap { Int64($0) }
    default: nil
    }
  }

  package var array: [RedisReply]? {
    if case .array(let elements) = self { elements } else { nil }
  }

  var isNull: Bool { self == .null }

  /// The reply, if it is no error.
  ///
  /// - Throws: ``RedisError`` with code answered.
  func checked() throws(RedisError) -> RedisReply {
    if case .error(let message) = self { throw RedisError(reply: message) }
    return self
  }
}
