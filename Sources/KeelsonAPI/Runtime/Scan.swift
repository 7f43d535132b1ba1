internal import KeelsonCore
internal import KeelsonProtoC

/// Looks through an encoding before protobuf-c does, and rejects what would hurt it.
///
/// protobuf-c trusts its input in several ways: it recurses as deep as messages nest, allocates
/// for each submessage however small, merges repeated occurrences of a singular message in
/// quadratic time, and passes text that is not UTF-8.
struct Scan: ~Copyable {
  /// Singular messages that may come beyond one for each field of their message. Protobuf says
  /// that several occurrences merge; no encoder writes them so, and merging costs.
  private static let extraOccurrences = 8

  private var remainingFields: Int
  private let limits: DecodingLimits

  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT.
  static func check(
    _ bytes: UnsafeRawBufferPointer, as table: UnsafePointer<keelson_message_table>,
    limits: DecodingLimits
  ) throws(RPCError) {
    guard bytes.count <= limits.maximumBytes else {
      throw unsafe invalid(
        table, nil, "\(bytes.count) bytes are over the limit of \(limits.maximumBytes)")
    }
    guard let start = bytes.baseAddress else { return }
    var scan = Scan(limits: limits)
    try unsafe scan.message(start, start + bytes.count, table, depth: 1)
  }

  private init(limits: DecodingLimits) {
    self.limits = limits
    remainingFields = limits.maximumFields
  }

  private mutating func message(
    _ start: UnsafeRawPointer, _ end: UnsafeRawPointer,
    _ table: UnsafePointer<keelson_message_table>, depth: Int
  ) throws(RPCError) {
    guard depth <= limits.maximumDepth else {
      throw unsafe Scan.invalid(
        table, nil, "messages nest deeper than the limit of \(limits.maximumDepth) levels")
    }
    var position = unsafe start
    var expected = 0
    var singularMessages = 0
    while unsafe position < end {
      remainingFields -= 1
      guard remainingFields >= 0 else {
        throw unsafe Scan.invalid(
          table, nil, "the number of fields is over the limit of \(limits.maximumFields)")
      }
      let tag = try unsafe varint(&position, end, table)
      let number = tag >> 3
      guard number > 0, tag <= UInt64(UInt32.max) else {
        throw unsafe Scan.invalid(table, nil, "\(number) is no field number")
      }
      let field = unsafe Scan.field(UInt32(number), in: table, expected: &expected)
      switch tag & 7 {
      case 0: _ = try unsafe varint(&position, end, table)
      case 1: try unsafe Scan.skip(8, &position, end, table)
      case 5: try unsafe Scan.skip(4, &position, end, table)
      case 2:
        let count = try unsafe varint(&position, end, table)
        guard unsafe count <= UInt64(end - position) else {
          throw unsafe Scan.invalid(table, field, "ends before its length")
        }
        let content = unsafe position
        unsafe position += Int(count)
        guard let field = unsafe field else { continue }
        switch unsafe field.pointee.kind {
        case Kind.string:
          guard unsafe isUTF8(content, position) else {
            throw unsafe Scan.invalid(table, field, "is not valid UTF-8")
          }
        case Kind.message:
          guard let inner = unsafe field.pointee.message else { continue }
          if unsafe field.pointee.is_repeated == 0 {
            singularMessages += 1
            guard
              unsafe singularMessages <= Int(table.pointee.field_count) + Scan.extraOccurrences
            else {
              throw unsafe Scan.invalid(table, field, "is given too many times")
            }
          }
          try unsafe self.message(content, position, inner, depth: depth + 1)
        default: break
        }
      case 3, 4: throw unsafe Scan.invalid(table, field, "is a group, which is not supported")
      default: throw unsafe Scan.invalid(table, field, "has the unknown wire type \(tag & 7)")
      }
      if let field = unsafe field, unsafe !Scan.fits(UInt8(tag & 7), field) {
        throw unsafe Scan.invalid(table, field, "has wire type \(tag & 7), not that of its type")
      }
    }
  }

  /// The numbers of keelson_field_kind.
  private enum Kind {
    static let varint: UInt8 = 0
    static let fixed64: UInt8 = 1
    static let fixed32: UInt8 = 2
    static let string: UInt8 = 3
    static let message: UInt8 = 5
  }

  private static func fits(_ wireType: UInt8, _ field: UnsafePointer<keelson_field>) -> Bool {
    let kind = unsafe field.pointee.kind
    switch wireType {
    case 0: return kind == Kind.varint
    case 1: return kind == Kind.fixed64
    case 5: return kind == Kind.fixed32
    // Numbers of a repeated field may be packed.
    default: return unsafe kind >= Kind.string || field.pointee.is_repeated != 0
    }
  }

  /// The field of a number, or nil. Fields mostly come in order, so the one after the last found
  /// is tried first.
  private static func field(
    _ number: UInt32, in table: UnsafePointer<keelson_message_table>, expected: inout Int
  ) -> UnsafePointer<keelson_field>? {
    guard let fields = unsafe table.pointee.fields else { return nil }
    let count = unsafe Int(table.pointee.field_count)
    // The field found last may repeat; `expected` stays on it until a later one comes.
    for index in expected..<min(expected + 2, count)
    where unsafe fields[index].number == number {
      expected = index
      return unsafe fields + index
    }
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      let found = unsafe fields[middle].number
      if found == number {
        expected = middle
        return unsafe fields + middle
      }
      if found < number { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  private func varint(
    _ position: inout UnsafeRawPointer, _ end: UnsafeRawPointer,
    _ table: UnsafePointer<keelson_message_table>
  ) throws(RPCError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while unsafe position < end, shift < 70 {
      let byte = unsafe position.load(as: UInt8.self)
      unsafe position += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw unsafe Scan.invalid(table, nil, "ends inside a number, or a number is too long")
  }

  private static func skip(
    _ count: Int, _ position: inout UnsafeRawPointer, _ end: UnsafeRawPointer,
    _ table: UnsafePointer<keelson_message_table>
  ) throws(RPCError) {
    guard unsafe end - position >= count else {
      throw unsafe invalid(table, nil, "ends inside a number")
    }
    unsafe position += count
  }

  private static func invalid(
    _ table: UnsafePointer<keelson_message_table>, _ field: UnsafePointer<keelson_field>?,
    _ problem: String
  ) -> RPCError {
    var path = unsafe String(cString: table.pointee.name)
    if let field = unsafe field { unsafe path += "." + String(cString: field.pointee.name) }
    return RPCError(.invalidArgument, "\(path): \(problem).")
  }
}
