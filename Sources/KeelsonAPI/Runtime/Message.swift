public import KeelsonCore
package import KeelsonProtoC

/// A protobuf message: a value with the fields of its .proto definition.
///
/// Two messages are equal when all their fields are, unknown ones included.
public protocol Message: Sendable, Hashable {
  /// The message with no field set.
  init()

  /// Decodes a message from its protobuf encoding.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when the bytes are no valid encoding or
  ///   exceed a limit. It names the message, the field where known, and the limit.
  init(decoding bytes: [UInt8], limits: DecodingLimits) throws(RPCError)

  /// The protobuf encoding: fields by number, map entries by key, so equal messages have equal
  /// encodings.
  func encoded() -> [UInt8]

  /// The message as JSON, for people and scripts: see `Runtime/JSON.swift` for the rules.
  var json: JSONValue { get }

  /// The full name, `keelson.flags.v1.Flag` for example.
  static var fullName: String { get }
}

extension Message {
  /// Decodes a message with the standard limits.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT.
  public init(decoding bytes: [UInt8]) throws(RPCError) {
    try self.init(decoding: bytes, limits: .standard)
  }
}

/// A protobuf enum. It is open: a number without a name is kept as `unrecognized`.
public protocol OpenEnum: Sendable, Hashable, CaseIterable {
  init(rawValue: Int32)
  /// The number on the wire.
  var rawValue: Int32 { get }
  /// The name in the .proto; nil for a number that has none.
  var name: String? { get }
}

/// What generated code adds to each message: its ways to and from the C struct of protobuf-c.
package protocol WireMessage: Message {
  /// How the scan knows the message. The table lives as long as the process.
  static var wireTable: UnsafePointer<keelson_message_table> { get }

  /// Copies the fields out of a C struct of the message's type, which stays the caller's.
  init(wire: UnsafeRawPointer)

  /// Sets the fields of an initialised C struct of the message's type. What it points to lives in
  /// the arena, or in the message.
  func write(to wire: UnsafeMutableRawPointer, in arena: Arena)
}

/// Holds a message that can contain itself.
package indirect enum Box<Value: Sendable & Hashable>: Sendable, Hashable {
  case content(Value)

  package init(_ value: Value) {
    self = .content(value)
  }

  package var value: Value {
    switch self {
    case .content(let value): value
    }
  }
}
