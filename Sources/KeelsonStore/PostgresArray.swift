/// An array of one dimension as PostgreSQL takes it in the binary format, which is that of a blob.
/// Source: `array_recv` in PostgreSQL's arrayfuncs.c, and the `…recv` function of each type.
struct PostgresArray {
  enum Element {
    case bigint, text, bytea

    var name: String {
      switch self {
      case .bigint: "BIGINT"
      case .text: "TEXT"
      case .bytea: "BYTEA"
      }
    }

    /// In pg_type.dat; fixed for built-in types.
    fileprivate var oid: Int32 {
      switch self {
      case .bigint: 20
      case .text: 25
      case .bytea: 17
      }
    }
  }

  private(set) var bytes: [UInt8] = []

  /// - Parameter count: how many elements will be appended.
  init(of element: Element, count: Int) {
    bytes.reserveCapacity(20 + count * 40)
    // Dimensions, whether there may be nulls, the type, how many, the first index.
    for number in [1, 1, element.oid, Int32(clamping: count), 1] { append(number) }
  }

  mutating func append(_ integer: Int64?) {
    guard let integer else { return appendNull() }
    append(length: 8)
    unsafe withUnsafeBytes(of: integer.bigEndian) { unsafe bytes.append(contentsOf: $0) }
  }

  mutating func append(_ text: String?) {
    guard let text else { return appendNull() }
    append(length: text.utf8.count)
    bytes.append(contentsOf: text.utf8)
  }

  mutating func append(_ blob: [UInt8]?) {
    guard let blob else { return appendNull() }
    append(length: blob.count)
    bytes.append(contentsOf: blob)
  }

  /// A value of the array's type. One of another type counts as null, which the column refuses.
  mutating func append(_ value: SQLValue) {
    switch value {
    case .integer(let integer): append(integer)
    case .text(let text): append(text)
    case .blob(let bytes): append(bytes)
    case .null, .real: appendNull()
    }
  }

  private mutating func appendNull() { append(length: -1) }

  private mutating func append(length: Int) { append(Int32(clamping: length)) }

  private mutating func append(_ number: Int32) {
    unsafe withUnsafeBytes(of: number.bigEndian) { unsafe bytes.append(contentsOf: $0) }
  }
}
