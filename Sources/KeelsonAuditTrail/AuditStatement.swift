import KeelsonCore
import KeelsonCrypto

/// A text that is signed: lines of a name and a value, after a line that says what it is. People
/// can read it, and any tool that knows Ed25519 can check it.
struct AuditStatement {
  private(set) var text: String
  private var values: [String: Substring] = [:]

  /// - Parameter kind: what it states, `checkpoint` for example.
  init(of kind: String) {
    text = "keelson audit \(kind) v1\n"
  }

  mutating func add(_ name: String, _ value: String) {
    text += "\(name) \(value)\n"
  }

  /// Reads a statement.
  ///
  /// - Throws: ``AuditFileError`` when it is none of that kind.
  init(reading text: String, of kind: String) throws(AuditFileError) {
    self.text = text
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.first == "keelson audit \(kind) v1"[...], lines.last == "" else {
      throw AuditFileError(
        "This is no \(kind): the signed text does not begin with 'keelson audit \(kind) v1'.")
    }
    for line in lines.dropFirst().dropLast() {
      guard let space = line.firstIndex(of: " ") else {
        throw AuditFileError(
          "The signed text of the \(kind) has a line without a value: '\(line)'.")
      }
      values[String(line[..<space])] = line[line.index(after: space)...]
    }
  }

  func text(_ name: String) throws(AuditFileError) -> String {
    guard let value = values[name] else {
      throw AuditFileError("The signed text says nothing of '\(name)'.")
    }
    return String(value)
  }

  func number(_ name: String) throws(AuditFileError) -> Int64 {
    guard let number = Int64(try text(name)), number >= 0 else {
      throw AuditFileError("The signed text has no number as '\(name)'.")
    }
    return number
  }

  func time(_ name: String) throws(AuditFileError) -> UnixTime {
    guard let time = UnixTime(exactly: try text(name)) else {
      throw AuditFileError("The signed text has no time as '\(name)'.")
    }
    return time
  }

  func digest(_ name: String) throws(AuditFileError) -> [UInt8] {
    guard let bytes = Hexadecimal.bytes(try text(name)), bytes.count == SHA256.digestBytes else {
      throw AuditFileError("The signed text has no SHA-256 as '\(name)'.")
    }
    return bytes
  }
}

/// A file, or a part of one, that cannot be read as what it should be.
package struct AuditFileError: Error, Hashable, CustomStringConvertible {
  /// What is wrong, a sentence.
  package let message: String

  package init(_ message: String) {
    self.message = message
  }

  package var description: String { message }
}
