import KeelsonStore

/// The parameters of a statement as libpq takes them: texts in the text format, bytes in the
/// binary one.
struct PostgresParameters {
  private var bytes: [UInt8] = []
  /// Where each begins; nil for null.
  private var starts: [Int?] = []
  private var lengths: [Int32] = []
  private var formats: [Int32] = []

  /// - Throws: ``StoreError`` with code constraint for a text with a NUL character, which
  ///   PostgreSQL cannot hold; misuse for more parameters than a statement can have.
  init(_ values: [SQLValue], sql: String) throws {
    try Self.check(values, sql: sql)
    for value in values {
      switch value {
      case .null: append(nil, isBinary: false)
      case .integer(let integer): append("\(integer)".utf8, isBinary: false)
      case .real(let real): append("\(real)".utf8, isBinary: false)
      case .text(let text):
        append(text.utf8, isBinary: false)
      case .blob(let blob): append(blob, isBinary: true)
      }
    }
  }

  /// Throws what ``init(_:sql:)`` would, before anything is sent.
  static func check(_ values: [SQLValue], sql: String) throws {
    guard values.count <= 65_535 else {
      throw StoreError(.misuse, "\(values.count) parameters; a statement has at most 65535: \(sql)")
    }
    for case .text(let text) in values where text.utf8.contains(0) {
      throw StoreError(
        .constraint, "A text holds a NUL character, which PostgreSQL does not store: \(sql)")
    }
  }

  private mutating func append(_ value: (some Collection<UInt8>), isBinary: Bool) {
    starts.append(bytes.count)
    bytes += value
    // The text format ends with a NUL; bytes have their length.
    bytes.append(0)
    lengths.append(Int32(clamping: value.count))
    formats.append(isBinary ? 1 : 0)
  }

  private mutating func append(_ value: [UInt8]?, isBinary: Bool) {
    starts.append(nil)
    lengths.append(0)
    formats.append(0)
  }

  /// Calls back with the count, the pointers, the lengths and the formats.
  func withPointers<Value>(
    _ body: (
      Int32, UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?
    ) -> Value
  ) -> Value {
    unsafe bytes.withUnsafeBytes { buffer in
      let base = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
      let pointers: [UnsafePointer<CChar>?] = unsafe starts.map { start in
        unsafe start.flatMap { offset in unsafe base.map { unsafe $0 + offset } }
      }
      return unsafe pointers.withUnsafeBufferPointer { pointers in
        unsafe lengths.withUnsafeBufferPointer { lengths in
          unsafe formats.withUnsafeBufferPointer { formats in
            unsafe body(
              Int32(starts.count), pointers.baseAddress, lengths.baseAddress, formats.baseAddress)
          }
        }
      }
    }
  }
}
