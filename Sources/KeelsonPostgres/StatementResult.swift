import CLibPQ
import KeelsonStore

/// What one statement gave.
struct StatementResult: Sendable {
  var rows: [Row] = []
  /// How many rows it inserted, updated or deleted.
  var changedRows = 0
  /// The server's word for what it did, `INSERT 0 1` for example.
  var tag = ""
}

extension StatementResult {
  /// Takes in a result of libpq's, whose columns came in the binary format.
  ///
  /// - Throws: ``StoreError`` with code misuse for a column of a type that the store does not use.
  init(_ result: OpaquePointer, columns known: RowColumns?, sql: String) throws {
    tag = unsafe String(cString: PQcmdStatus(result))
    if ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(where: tag.hasPrefix) {
      changedRows = Int(unsafe String(cString: PQcmdTuples(result))) ?? 0
    }
    let rowCount = unsafe PQntuples(result)
    guard rowCount > 0 else { return }
    let columnCount = unsafe PQnfields(result)
    let columns =
      known
      ?? RowColumns((0..<columnCount).map { unsafe String(cString: PQfname(result, $0)) })
    let types = (0..<columnCount).map { unsafe PQftype(result, $0) }
    rows.reserveCapacity(Int(rowCount))
    for row in 0..<rowCount {
      var values: [SQLValue] = []
      values.reserveCapacity(Int(columnCount))
      for column in 0..<columnCount {
        guard unsafe PQgetisnull(result, row, column) == 0 else {
          values.append(.null)
          continue
        }
        let count = Int(unsafe PQgetlength(result, row, column))
        let bytes = unsafe UnsafeRawBufferPointer(
          start: PQgetvalue(result, row, column), count: count)
        guard let value = unsafe SQLValue(binary: bytes, type: types[Int(column)]) else {
          throw StoreError(
            .misuse,
            """
            Column \(columns.names[Int(column)]) has a type that the store does not use (OID \
            \(types[Int(column)])); CAST it: \(sql)
            """)
        }
        values.append(value)
      }
      rows.append(Row(columns: columns, values: values))
    }
  }
}

extension SQLValue {
  /// Reads a value in PostgreSQL's binary format; nil for a type that the store does not use.
  ///
  /// - Parameter type: the type's OID (PostgreSQL, pg_type.dat).
  init?(binary bytes: UnsafeRawBufferPointer, type: Oid) {
    switch type {
    case 16 where bytes.count == 1: self = .integer(unsafe bytes[0] == 0 ? 0 : 1)
    case 17: self = .blob(unsafe [UInt8](bytes))
    case 20, 5069:
      guard let integer = unsafe bytes.bigEndian(Int64.self) else { return nil }
      self = .integer(integer)
    case 23:
      guard let integer = unsafe bytes.bigEndian(Int32.self) else { return nil }
      self = .integer(Int64(integer))
    case 26, 28:
      guard let integer = unsafe bytes.bigEndian(UInt32.self) else { return nil }
      self = .integer(Int64(integer))
    case 21:
      guard let integer = unsafe bytes.bigEndian(Int16.self) else { return nil }
      self = .integer(Int64(integer))
    case 701:
      guard let bits = unsafe bytes.bigEndian(UInt64.self) else { return nil }
      self = .real(Double(bitPattern: bits))
    case 700:
      guard let bits = unsafe bytes.bigEndian(UInt32.self) else { return nil }
      self = .real(Double(Float(bitPattern: bits)))
    case 1700:
      guard let value = unsafe SQLValue(numeric: bytes) else { return nil }
      self = value
    // char, name, text, unknown, bpchar, varchar.
    case 18, 19, 25, 705, 1042, 1043: self = .text(unsafe String(decoding: bytes, as: UTF8.self))
    // The result of a function that gives nothing.
    case 2278: self = .null
    default: return nil
    }
  }

  /// A numeric, as sums of integers are: an integer where it is one and fits, else a double.
  ///
  /// Four 16-bit numbers (digits, weight of the first, sign, digits to show), then the digits to
  /// base 10,000 (PostgreSQL, numeric.c, `numeric_send`).
  private init?(numeric bytes: UnsafeRawBufferPointer) {
    let words = (0..<bytes.count / 2).map { index in
      unsafe UInt16(bytes[2 * index]) << 8 | UInt16(bytes[2 * index + 1])
    }
    guard words.count >= 4, words.count == 4 + Int(words[0]) else { return nil }
    let weight = Int(Int16(bitPattern: words[1]))
    guard words[2] == 0 || words[2] == 0x4000 else {
      self = .real(words[2] == 0xC000 ? .nan : words[2] == 0xD000 ? .infinity : -.infinity)
      return
    }
    let isNegative = words[2] == 0x4000
    let digits = words.dropFirst(4)
    // Digits to base 10,000 after the first `weight + 1` lie behind the point.
    if digits.count <= weight + 1, weight < 5 {
      var number: Int64 = 0
      var fits = true
      for place in 0..<(weight + 1) {
        let digit = place < digits.count ? Int64(digits[digits.startIndex + place]) : 0
        let (shifted, first) = number.multipliedReportingOverflow(by: 10_000)
        let (sum, second) = shifted.subtractingReportingOverflow(digit)
        (number, fits) = (sum, fits && !first && !second)
      }
      if fits, isNegative || number != .min {
        self = .integer(isNegative ? number : -number)
        return
      }
    }
    var text = isNegative ? "-0" : "0"
    for digit in digits {
      let four = String(digit)
      text += String(repeating: "0", count: 4 - four.count) + four
    }
    let exponent = (weight + 1 - digits.count) * 4
    guard let real = Double(text + "e\(exponent)") else { return nil }
    self = .real(real)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func bigEndian<Number: FixedWidthInteger>(_ type: Number.Type) -> Number? {
    guard count == MemoryLayout<Number>.size else { return nil }
    return unsafe Number(bigEndian: loadUnaligned(as: Number.self))
  }
}
