/// Bytes to hash or to sign: fields one after the other, so that no two lists of fields give the
/// same bytes.
package struct CanonicalForm {
  package private(set) var bytes: [UInt8] = []

  /// - Parameter kind: what is hashed, so that a form of one kind never passes for another.
  package init(of kind: String) {
    bytes.reserveCapacity(512)
    append(kind)
  }

  /// 8 bytes, the highest first.
  package mutating func append(_ number: Int64) {
    unsafe withUnsafeBytes(of: number.bigEndian) { unsafe bytes.append(contentsOf: $0) }
  }

  /// The length, then the UTF-8.
  package mutating func append(_ text: String) {
    append(Int64(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  /// The length, then the bytes.
  package mutating func append(_ value: [UInt8]) {
    append(Int64(value.count))
    bytes.append(contentsOf: value)
  }

  /// A byte that says whether it is there, then the value.
  package mutating func append<Value>(
    optional value: Value?, _ append: (inout CanonicalForm, Value) -> Void
  ) {
    bytes.append(value == nil ? 0 : 1)
    if let value { append(&self, value) }
  }
}
