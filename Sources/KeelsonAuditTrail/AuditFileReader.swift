import KeelsonCore
import KeelsonCrypto

/// Reads exports and archives, piece by piece. A line that nobody wrote like that is an error: what
/// a file says beside what is hashed would look as if it were proven.
package struct AuditFileReader: Sendable {
  package enum Item: Sendable, Hashable {
    /// nil of a CSV file, which cannot say.
    case header(AuditFileHeader?)
    case entry(AuditEntry)
    case trailer(entries: Int64, lastSequence: Int64, lastHash: [UInt8])
  }

  /// A line over this length is no entry. The largest are sealed: `before` and `after` of 1 MiB each
  /// (the most that `audit-state-size` can be) whose quotes are escaped, and all of that in
  /// hexadecimal, are 8 MiB; attributes likewise are below 1 MiB.
  private static let maximumLineBytes = 16 << 20

  /// The line that is being read, counted from 1.
  package private(set) var line = 1
  /// nil until the first byte has come.
  package private(set) var format: AuditFileFormat?
  private var rest: [UInt8] = []
  private var isQuoted = false
  private var hasHeader = false

  package init() {}

  /// Takes the next piece of the file and gives what is whole.
  ///
  /// - Throws: ``AuditFileError`` that names the line.
  package mutating func read(
    _ bytes: [UInt8], _ take: (Item, Int) throws -> Void
  ) throws {
    if format == nil, let first = bytes.first {
      format = first == UInt8(ascii: "{") ? .ndjson : .csv
    }
    let isCSV = format == .csv
    var start = 0
    for (index, byte) in bytes.enumerated() {
      if isCSV, byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      guard byte == 0x0A, !isQuoted else { continue }
      rest.append(contentsOf: bytes[start..<index])
      start = index + 1
      let whole = rest
      rest = []
      try take(try item(whole), line)
      line += 1
    }
    rest.append(contentsOf: bytes[start...])
    guard rest.count <= Self.maximumLineBytes else {
      throw AuditFileError("Line \(line) is longer than any entry.")
    }
  }

  /// - Throws: ``AuditFileError`` when the file ends within a line, or is empty.
  package func finish() throws(AuditFileError) {
    guard format != nil else { throw AuditFileError("The file is empty.") }
    guard rest.isEmpty else {
      throw AuditFileError("The file ends in the middle of line \(line).")
    }
  }

  /// Entries are counted from 1, and the last number there is has no next one.
  private func checkNumber(of entry: AuditEntry) throws(AuditFileError) {
    guard (1..<Int64.max).contains(entry.sequence) else {
      throw damaged("has the number \(entry.sequence), which no entry can have")
    }
  }

  private mutating func item(_ bytes: [UInt8]) throws(AuditFileError) -> Item {
    guard String(validating: bytes, as: UTF8.self) != nil else { throw damaged("is not UTF-8") }
    return format == .csv ? try record(bytes) : try object(bytes)
  }

  private func damaged(_ what: String) -> AuditFileError {
    AuditFileError("Line \(line) \(what).")
  }

  // MARK: NDJSON

  private mutating func object(_ bytes: [UInt8]) throws(AuditFileError) -> Item {
    let text = String(decoding: bytes, as: UTF8.self)
    guard case .object(let members)? = try? JSONValue(parsing: text) else {
      throw damaged("is no JSON object")
    }
    guard hasHeader else {
      hasHeader = true
      guard case .number(1)? = members["keelson_audit_file"],
        case .bool(let isFiltered)? = members["filtered"],
        let after = number(members["after_sequence"]),
        case .string(let time)? = members["time"], let time = UnixTime(exactly: time)
      else {
        throw damaged("is not the header of an export or archive of Keelson's audit trail")
      }
      return .header(
        AuditFileHeader(isFiltered: isFiltered, afterSequence: after, time: time))
    }
    if members["end"] != nil {
      guard let entries = number(members["entries"]), let last = number(members["last_sequence"]),
        case .string(let digits)? = members["last_hash"], let hash = Hexadecimal.bytes(digits),
        Hexadecimal.text(hash) == digits, members.count == 4
      else { throw damaged("is no trailer") }
      return .trailer(entries: entries, lastSequence: last, lastHash: hash)
    }
    var entry = AuditEntry.blank
    for (name, value) in members {
      guard let field = AuditField.byName[name] else {
        throw damaged("has a member '\(name)', which no entry has")
      }
      let text: String? =
        switch value {
        case .string(let text) where !field.isNumber: text
        case .number(let number) where field.isNumber: Int64(exactly: number).map(String.init)
        default: nil
        }
      guard let text, field.set(&entry, text) else {
        throw damaged("has a '\(name)' that no entry can have")
      }
    }
    guard members["sequence"] != nil, members["hash"] != nil else {
      throw damaged("is no entry")
    }
    try checkNumber(of: entry)
    // Members twice, in another order or with spaces: whatever JSON hides from a parser.
    guard Self.line(of: entry) == bytes else {
      throw damaged("is not written as entries are")
    }
    return .entry(entry)
  }

  private func number(_ value: JSONValue?) -> Int64? {
    guard case .number(let number)? = value else { return nil }
    return Int64(exactly: number)
  }

  /// The line that the writer makes of an entry.
  private static func line(of entry: AuditEntry) -> [UInt8] {
    var writer = AuditFileWriter(
      .ndjson, AuditFileHeader(isFiltered: false, afterSequence: 0, time: entry.time))
    writer.bytes.removeAll(keepingCapacity: true)
    writer.add(entry)
    return writer.bytes.dropLast()
  }

  // MARK: CSV

  private mutating func record(_ bytes: [UInt8]) throws(AuditFileError) -> Item {
    guard let cells = cells(bytes.last == 0x0D ? bytes.dropLast() : bytes[...]) else {
      throw damaged("breaks the quoting of CSV")
    }
    guard hasHeader else {
      hasHeader = true
      guard cells == AuditField.all.map(\.name) else {
        throw damaged("does not name the columns of an export of Keelson's audit trail")
      }
      return .header(nil)
    }
    guard cells.count == AuditField.all.count else {
      throw damaged("has \(cells.count) cells, not \(AuditField.all.count)")
    }
    var entry = AuditEntry.blank
    for (field, cell) in zip(AuditField.all, cells) {
      // A field that is text and empty is empty; one that may be missing is missing.
      guard !cell.isEmpty || field.text(AuditEntry.blank) != nil else { continue }
      guard field.set(&entry, cell) else {
        throw damaged("has a '\(field.name)' that no entry can have")
      }
    }
    try checkNumber(of: entry)
    return .entry(entry)
  }

  private func cells(_ bytes: ArraySlice<UInt8>) -> [String]? {
    var cells: [String] = []
    var cell: [UInt8] = []
    var rest = bytes
    let quote = UInt8(ascii: "\"")
    while true {
      if rest.first == quote {
        rest.removeFirst()
        while true {
          guard let end = rest.firstIndex(of: quote) else { return nil }
          cell += rest[..<end]
          rest = rest[(end + 1)...]
          guard rest.first == quote else { break }
          cell.append(quote)
          rest.removeFirst()
        }
      } else {
        let end = rest.firstIndex(of: UInt8(ascii: ",")) ?? rest.endIndex
        cell += rest[..<end]
        guard !cell.contains(quote) else { return nil }
        rest = rest[end...]
      }
      cells.append(String(decoding: cell, as: UTF8.self))
      cell = []
      guard let next = rest.popFirst() else { return cells }
      guard next == UInt8(ascii: ",") else { return nil }
    }
  }
}
