import CSQLite
import KeelsonStore

/// A prepared statement. Owns its handle; used by whoever uses its connection.
@safe final class Statement {
  private let handle: OpaquePointer
  private let database: OpaquePointer
  private let sql: String
  /// For each of SQLite's parameter places, which of the caller's parameters goes there. SQLite
  /// numbers `$n` by first appearance, we by n.
  private let places: [Int]
  private let parameterCount: Int
  private var columns = RowColumns([])

  /// - Throws: ``StoreError`` with code misuse when the text is not one whole statement.
  init(_ sql: String, in database: OpaquePointer) throws {
    var text = sql
    let (status, handle, hasMore) = text.withUTF8 {
      buffer -> (Int32, OpaquePointer?, Bool) in
      unsafe buffer.withMemoryRebound(to: CChar.self) { buffer in
        var handle: OpaquePointer?
        var tail: UnsafePointer<CChar>?
        let status = unsafe sqlite3_prepare_v3(
          database, buffer.baseAddress, Int32(buffer.count), UInt32(SQLITE_PREPARE_PERSISTENT),
          &handle, &tail)
        guard let tail = unsafe tail, let start = buffer.baseAddress else {
          return unsafe (status, handle, false)
        }
        let rest = unsafe buffer[(tail - start)...]
        let hasMore = unsafe rest.contains { ![0x20, 0x0A, 0x0D, 0x09, 0x3B].contains($0) }
        return unsafe (status, handle, hasMore)
      }
    }
    guard status == SQLITE_OK else { throw unsafe StoreError.sqlite(status, database, sql) }
    guard let handle = unsafe handle, !hasMore else {
      _ = unsafe handle.map { unsafe sqlite3_finalize($0) }
      throw StoreError(.misuse, "Not exactly one statement: \(sql)")
    }
    var places: [Int] = []
    for place in unsafe 1..<(sqlite3_bind_parameter_count(handle) + 1) {
      let name = unsafe sqlite3_bind_parameter_name(handle, place).map {
        unsafe String(cString: $0)
      }
      guard let name else {
        places.append(Int(place) - 1)
        continue
      }
      guard name.first == "$", let number = Int(name.dropFirst()), number > 0 else {
        unsafe sqlite3_finalize(handle)
        throw StoreError(.misuse, "Parameters are written $1, $2, ..., or all ?: \(sql)")
      }
      places.append(number - 1)
    }
    unsafe self.handle = unsafe handle
    unsafe self.database = unsafe database
    self.sql = sql
    self.places = places
    parameterCount = (places.max() ?? -1) + 1
  }

  deinit {
    unsafe sqlite3_finalize(handle)
  }

  /// Runs it to its end and returns its rows.
  func query(_ parameters: [SQLValue]) throws -> [Row] {
    try bind(parameters)
    defer { reset() }
    var rows: [Row] = []
    while try step() {
      let count = unsafe sqlite3_column_count(handle)
      if columns.names.count != count { columns = readColumns(count) }
      var values: [SQLValue] = []
      values.reserveCapacity(Int(count))
      for index in 0..<count { values.append(value(index)) }
      rows.append(Row(columns: columns, values: values))
    }
    return rows
  }

  /// Runs it to its end and returns how many rows it changed.
  func execute(_ parameters: [SQLValue]) throws -> Int {
    try bind(parameters)
    defer { reset() }
    let before = unsafe sqlite3_total_changes64(database)
    while try step() {}
    // sqlite3_changes keeps the last count when a statement (DDL for example) changes no row.
    return unsafe sqlite3_total_changes64(database) == before
      ? 0 : Int(unsafe sqlite3_changes64(database))
  }

  /// Not read when the statement is prepared: a change of the schema may change them.
  private func readColumns(_ count: Int32) -> RowColumns {
    RowColumns((0..<count).map { unsafe String(cString: sqlite3_column_name(handle, $0)) })
  }

  private func step() throws -> Bool {
    switch unsafe sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let status: throw unsafe StoreError.sqlite(status, database, sql)
    }
  }

  private func reset() {
    // Both repeat the error of the last step, which has been thrown already.
    unsafe sqlite3_reset(handle)
    unsafe sqlite3_clear_bindings(handle)
  }

  private func bind(_ parameters: [SQLValue]) throws {
    guard parameters.count == parameterCount else {
      throw StoreError(
        .misuse, "\(parameters.count) parameters for a statement with \(parameterCount): \(sql)")
    }
    for (offset, place) in places.enumerated() {
      let status = bind(parameters[place], at: Int32(offset + 1))
      guard status == SQLITE_OK else { throw unsafe StoreError.sqlite(status, database, sql) }
    }
  }

  private func bind(_ value: SQLValue, at place: Int32) -> Int32 {
    // SQLITE_TRANSIENT, a cast that Swift does not import: SQLite copies the bytes.
    let transient = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)
    switch value {
    case .null: return unsafe sqlite3_bind_null(handle, place)
    case .integer(let integer): return unsafe sqlite3_bind_int64(handle, place, integer)
    case .real(let real): return unsafe sqlite3_bind_double(handle, place, real)
    case .text(var text):
      return text.withUTF8 { buffer in
        unsafe buffer.withMemoryRebound(to: CChar.self) { buffer in
          // A nil pointer would bind NULL.
          guard let start = buffer.baseAddress else {
            return unsafe sqlite3_bind_text(handle, place, "", 0, transient)
          }
          return unsafe sqlite3_bind_text64(
            handle, place, start, UInt64(buffer.count), transient, UInt8(SQLITE_UTF8))
        }
      }
    case .blob(let bytes):
      guard !bytes.isEmpty else { return unsafe sqlite3_bind_zeroblob(handle, place, 0) }
      return unsafe bytes.withUnsafeBytes { buffer in
        unsafe sqlite3_bind_blob64(
          handle, place, buffer.baseAddress, UInt64(buffer.count), transient)
      }
    }
  }

  private func value(_ index: Int32) -> SQLValue {
    switch unsafe sqlite3_column_type(handle, index) {
    case SQLITE_INTEGER: return .integer(unsafe sqlite3_column_int64(handle, index))
    case SQLITE_FLOAT: return .real(unsafe sqlite3_column_double(handle, index))
    case SQLITE_TEXT:
      // The text first, then its length (SQLite, column_blob.html).
      guard let start = unsafe sqlite3_column_text(handle, index) else { return .text("") }
      let count = Int(unsafe sqlite3_column_bytes(handle, index))
      return .text(
        unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self))
    case SQLITE_BLOB:
      guard let start = unsafe sqlite3_column_blob(handle, index) else { return .blob([]) }
      let count = Int(unsafe sqlite3_column_bytes(handle, index))
      return .blob(unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count)))
    default: return .null
    }
  }
}
