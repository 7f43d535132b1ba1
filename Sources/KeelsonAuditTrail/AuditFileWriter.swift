package import KeelsonCore
import KeelsonCrypto

/// The forms that a file of entries can have.
package enum AuditFileFormat: String, Sendable, CaseIterable {
  /// One JSON object a line: a header, the entries, a trailer.
  case ndjson
  /// RFC 4180, the names of the columns first.
  case csv
}

/// What a file says of itself ahead of its entries.
package struct AuditFileHeader: Sendable, Hashable {
  /// Whether entries between those in the file were left out on purpose.
  package var isFiltered: Bool
  /// The file begins after this entry.
  package var afterSequence: Int64
  /// When it was begun.
  package var time: UnixTime

  package init(isFiltered: Bool, afterSequence: Int64, time: UnixTime) {
    self.isFiltered = isFiltered
    self.afterSequence = afterSequence
    self.time = time
  }
}

/// Writes exports and archives, piece by piece. All that is hashed of an entry is in the file as it
/// was hashed, so whoever has the file can check it.
package struct AuditFileWriter: Sendable {
  package let format: AuditFileFormat
  /// What is ready to be taken.
  package var bytes: [UInt8] = []
  package private(set) var entries: Int64 = 0
  package private(set) var lastSequence: Int64 = 0
  private var lastHash: [UInt8] = []

  package init(_ format: AuditFileFormat, _ header: AuditFileHeader) {
    self.format = format
    switch format {
    case .ndjson:
      put(
        """
        {"keelson_audit_file":1,"filtered":\(header.isFiltered),\
        "after_sequence":\(header.afterSequence),"time":"\(header.time)"}\n
        """)
    case .csv:
      put(AuditField.all.map(\.name).joined(separator: ",") + "\r\n")
    }
  }

  package mutating func add(_ entry: AuditEntry) {
    switch format {
    case .ndjson: addLine(entry)
    case .csv: addRecord(entry)
    }
    entries += 1
    lastSequence = entry.sequence
    lastHash = entry.hash
  }

  /// Says that nothing follows.
  package mutating func finish() {
    guard format == .ndjson else { return }
    put(
      """
      {"end":true,"entries":\(entries),"last_sequence":\(lastSequence),\
      "last_hash":"\(Hexadecimal.text(lastHash))"}\n
      """)
  }

  private mutating func addLine(_ entry: AuditEntry) {
    var separator = "{\""
    for field in AuditField.all {
      guard let text = field.text(entry) else { continue }
      put(separator)
      put(field.name)
      put("\":")
      if field.isNumber {
        put(text)
      } else {
        putJSON(text)
      }
      separator = ",\""
    }
    put("}\n")
  }

  private mutating func addRecord(_ entry: AuditEntry) {
    var isFirst = true
    for field in AuditField.all {
      if !isFirst { bytes.append(UInt8(ascii: ",")) }
      isFirst = false
      guard let text = field.text(entry) else { continue }
      guard text.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else {
        put(text)
        continue
      }
      bytes.append(UInt8(ascii: "\""))
      for byte in text.utf8 {
        if byte == UInt8(ascii: "\"") { bytes.append(byte) }
        bytes.append(byte)
      }
      bytes.append(UInt8(ascii: "\""))
    }
    put("\r\n")
  }

  private mutating func put(_ text: String) {
    bytes.append(contentsOf: text.utf8)
  }

  private mutating func putJSON(_ text: String) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): put("\\\"")
      case UInt8(ascii: "\\"): put("\\\\")
      case 0x0A: put("\\n")
      case 0x0D: put("\\r")
      case 0x09: put("\\t")
      case 0..<0x20: put("\\u00" + Hexadecimal.text([byte]))
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}
