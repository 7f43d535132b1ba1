import KeelsonCore

/// Reads the fields of one encoded message of `google/protobuf/descriptor.proto` in order.
///
/// Descriptors are written by our own build; the reader trusts nothing all the same.
struct DescriptorReader {
  enum Content {
    case number(UInt64)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  /// The next field that is a number or has a length; nil at the end. Descriptors have no others
  /// that matter here.
  ///
  /// - Throws: ``RPCError`` with code INTERNAL for bytes that are no message.
  mutating func next() throws(RPCError) -> (number: Int, content: Content)? {
    while !rest.isEmpty {
      let tag = try varint()
      let number = Int(truncatingIfNeeded: tag >> 3)
      switch tag & 7 {
      case 0: return (number, .number(try varint()))
      case 1: _ = try take(8)
      case 2: return (number, .bytes(try take(try varint())))
      case 5: _ = try take(4)
      default: throw Self.malformed
      }
    }
    return nil
  }

  private mutating func varint() throws(RPCError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = rest.popFirst() else { break }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw Self.malformed
  }

  private mutating func take(_ count: UInt64) throws(RPCError) -> ArraySlice<UInt8> {
    guard count <= UInt64(rest.count) else { throw Self.malformed }
    defer { rest = rest.dropFirst(Int(count)) }
    return rest.prefix(Int(count))
  }

  private static let malformed = RPCError(
    .internalError, "The embedded descriptors are malformed; build Keelson again.")
}

extension DescriptorReader.Content {
  var number: UInt64 {
    if case .number(let value) = self { value } else { 0 }
  }

  var bytes: ArraySlice<UInt8> {
    if case .bytes(let value) = self { value } else { [] }
  }

  var string: String { String(decoding: bytes, as: UTF8.self) }
}
