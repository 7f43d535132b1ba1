/// Reads the fields of one encoded protobuf message in order.
///
/// Reads descriptor sets that protoc has just written, so a malformed one is a defect of the tool
/// chain and reported as ``CodegenError``.
struct WireReader {
  enum Value {
    case varint(UInt64)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  /// The next field, or nil at the end. Fixed-width fields, of which descriptors have none that
  /// matter here, are skipped.
  mutating func next() throws -> (number: Int, value: Value)? {
    while !rest.isEmpty {
      let tag = try varint()
      let number = Int(tag >> 3)
      switch tag & 7 {
      case 0: return (number, .varint(try varint()))
      case 1: _ = try take(8)
      case 2: return (number, .bytes(try take(Int(try varint()))))
      case 5: _ = try take(4)
      default: throw CodegenError("the descriptor set has wire type \(tag & 7)")
      }
    }
    return nil
  }

  private mutating func varint() throws -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = rest.popFirst() else { break }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw CodegenError("the descriptor set ends inside a number")
  }

  private mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
    guard count >= 0, count <= rest.count else {
      throw CodegenError("the descriptor set ends inside a field")
    }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }

  /// All numbers of a packed field.
  static func packed(_ bytes: ArraySlice<UInt8>) throws -> [Int] {
    var reader = WireReader(bytes)
    var numbers: [Int] = []
    while !reader.rest.isEmpty { numbers.append(Int(try reader.varint())) }
    return numbers
  }
}

extension WireReader.Value {
  var int: Int {
    if case .varint(let value) = self { Int(truncatingIfNeeded: value) } else { 0 }
  }

  var bytes: ArraySlice<UInt8> {
    if case .bytes(let value) = self { value } else { [] }
  }

  var string: String { String(decoding: bytes, as: UTF8.self) }
}
