package import KeelsonCore
package import KeelsonCrypto

/// What an archive's file holds, signed. It lies beside the file, with `.manifest.json` after its
/// name.
package struct AuditArchiveManifest: Sendable, Hashable {
  /// The file's name.
  package var name: String
  package var firstSequence: Int64
  package var lastSequence: Int64
  package var entries: Int64
  package var firstTime: UnixTime
  package var lastTime: UnixTime
  /// The hash of the entry before the first.
  package var previousHash: [UInt8]
  /// The hash of the last entry.
  package var lastHash: [UInt8]
  package var sizeBytes: Int64
  /// The SHA-256 of the file.
  package var fileHash: [UInt8]
  package var createTime: UnixTime
  /// Which key signs it.
  package var keyID: String
  /// Ed25519 over ``signedText``.
  package var signature: [UInt8]

  package init(
    name: String, firstSequence: Int64, lastSequence: Int64, entries: Int64, firstTime: UnixTime,
    lastTime: UnixTime, previousHash: [UInt8], lastHash: [UInt8], sizeBytes: Int64,
    fileHash: [UInt8], createTime: UnixTime, keyID: String, signature: [UInt8] = []
  ) {
    self.name = name
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
    self.entries = entries
    self.firstTime = firstTime
    self.lastTime = lastTime
    self.previousHash = previousHash
    self.lastHash = lastHash
    self.sizeBytes = sizeBytes
    self.fileHash = fileHash
    self.createTime = createTime
    self.keyID = keyID
    self.signature = signature
  }

  /// The name of an archive's file: the numbers have places enough to sort by name.
  ///
  /// - Parameter tag: tells files of the same entries apart.
  package static func fileName(first: Int64, last: Int64, tag: String) -> String {
    func padded(_ number: Int64) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, 12 - digits.count)) + digits
    }
    return "audit-\(padded(first))-\(padded(last))-\(tag)\(fileEnding)"
  }

  /// Whether the name is one that ``fileName(first:last:tag:)`` gives for these entries, and so
  /// leads nowhere but to a file in the folder of archives.
  package var hasOwnFileName: Bool {
    let tag = name.dropLast(Self.fileEnding.count).suffix(8)
    return tag.utf8.allSatisfy { Character(Unicode.Scalar($0)).isHexDigit }
      && name == Self.fileName(first: firstSequence, last: lastSequence, tag: String(tag))
  }

  private static let fileEnding = ".ndjson.gz"

  /// What stands after an archive's name in that of its manifest.
  package static let fileSuffix = ".manifest.json"

  package var signedText: String {
    var statement = AuditStatement(of: "archive")
    statement.add("name", name)
    statement.add("first_sequence", String(firstSequence))
    statement.add("last_sequence", String(lastSequence))
    statement.add("entries", String(entries))
    statement.add("first_time", firstTime.description)
    statement.add("last_time", lastTime.description)
    statement.add("previous_hash", Hexadecimal.text(previousHash))
    statement.add("last_hash", Hexadecimal.text(lastHash))
    statement.add("size_bytes", String(sizeBytes))
    statement.add("file_hash", Hexadecimal.text(fileHash))
    statement.add("create_time", createTime.description)
    statement.add("key", keyID)
    return statement.text
  }

  /// Reads what was signed.
  ///
  /// - Throws: ``AuditFileError`` when the text is no archive's.
  package init(signedText text: String, signature: [UInt8]) throws(AuditFileError) {
    let statement = try AuditStatement(reading: text, of: "archive")
    name = try statement.text("name")
    firstSequence = try statement.number("first_sequence")
    lastSequence = try statement.number("last_sequence")
    entries = try statement.number("entries")
    firstTime = try statement.time("first_time")
    lastTime = try statement.time("last_time")
    previousHash = try statement.digest("previous_hash")
    lastHash = try statement.digest("last_hash")
    sizeBytes = try statement.number("size_bytes")
    fileHash = try statement.digest("file_hash")
    createTime = try statement.time("create_time")
    keyID = try statement.text("key")
    self.signature = signature
    guard signedText == text else {
      throw AuditFileError("The signed text of the archive has lines of another form.")
    }
  }

  /// The same, signed.
  ///
  /// - Throws: `CryptoError`.
  package func signed(by key: SigningKey) throws -> AuditArchiveManifest {
    var signed = self
    signed.keyID = key.verifyingKey.id
    signed.signature = try key.signature(of: Array(signed.signedText.utf8))
    return signed
  }

  /// Whether that key signed it.
  package func isSigned(by key: VerifyingKey) -> Bool {
    key.id == keyID && key.isValid(signature, of: Array(signedText.utf8))
  }

  /// The manifest as its file holds it.
  package var json: JSONValue {
    ["signed_text": .string(signedText), "signature": .string(Hexadecimal.text(signature))]
  }

  /// Reads a manifest's file.
  ///
  /// - Throws: ``AuditFileError`` when it is none.
  package init(parsing text: String) throws(AuditFileError) {
    guard case .object(let members)? = try? JSONValue(parsing: text),
      case .string(let signedText)? = members["signed_text"],
      case .string(let digits)? = members["signature"],
      let signature = Hexadecimal.bytes(digits)
    else { throw AuditFileError("This is no manifest of an archive.") }
    try self.init(signedText: signedText, signature: signature)
  }
}
