package import KeelsonCore
package import KeelsonCrypto

/// A signed statement of what the trail was at a time. Whoever keeps one can show later that the
/// trail up to it was rewritten or cut off; one that counts no entry proves silence.
package struct AuditCheckpoint: Sendable, Hashable {
  /// 1, 2, 3, ...
  package var number: Int64
  /// The newest entry; 0 before the first.
  package var sequence: Int64
  /// The hash of that entry; ``AuditChain/origin`` before the first.
  package var hash: [UInt8]
  /// How many entries were recorded since the checkpoint before.
  package var count: Int64
  package var time: UnixTime
  /// The ``digest`` of the checkpoint before; ``AuditChain/origin`` for the first.
  package var previous: [UInt8]
  /// Which key signs it.
  package var keyID: String
  /// Ed25519 over ``signedText``.
  package var signature: [UInt8]

  /// The checkpoint after another one, or the first, signed.
  ///
  /// - Throws: `CryptoError`.
  package init(
    of chain: AuditChain, at time: UnixTime, after last: AuditCheckpoint?, signedBy key: SigningKey
  ) throws {
    number = (last?.number ?? 0) + 1
    sequence = chain.sequence
    hash = chain.hash
    count = chain.sequence - (last?.sequence ?? 0)
    self.time = time
    previous = last?.digest ?? AuditChain.origin
    keyID = key.verifyingKey.id
    signature = []
    signature = try key.signature(of: Array(signedText.utf8))
  }

  /// Reads what was signed.
  ///
  /// - Throws: ``AuditFileError`` when the text is no checkpoint's.
  package init(signedText text: String, signature: [UInt8]) throws(AuditFileError) {
    let statement = try AuditStatement(reading: text, of: "checkpoint")
    number = try statement.number("number")
    sequence = try statement.number("sequence")
    hash = try statement.digest("hash")
    count = try statement.number("count")
    time = try statement.time("time")
    previous = try statement.digest("previous")
    keyID = try statement.text("key")
    self.signature = signature
    guard signedText == text else {
      throw AuditFileError("The signed text of the checkpoint has lines of another form.")
    }
  }

  /// A checkpoint as it was stored.
  package init(
    number: Int64, sequence: Int64, hash: [UInt8], count: Int64, time: UnixTime,
    previous: [UInt8], keyID: String, signature: [UInt8]
  ) {
    self.number = number
    self.sequence = sequence
    self.hash = hash
    self.count = count
    self.time = time
    self.previous = previous
    self.keyID = keyID
    self.signature = signature
  }

  package var signedText: String {
    var statement = AuditStatement(of: "checkpoint")
    statement.add("number", String(number))
    statement.add("sequence", String(sequence))
    statement.add("hash", Hexadecimal.text(hash))
    statement.add("count", String(count))
    statement.add("time", time.description)
    statement.add("previous", Hexadecimal.text(previous))
    statement.add("key", keyID)
    return statement.text
  }

  /// The SHA-256 of what was signed.
  package var digest: [UInt8] { SHA256.hash(Array(signedText.utf8)) }

  /// Whether that key signed it.
  package func isSigned(by key: VerifyingKey) -> Bool {
    key.id == keyID && key.isValid(signature, of: Array(signedText.utf8))
  }

  /// Why it does not follow another one; nil when it does.
  package func flaw(after last: AuditCheckpoint) -> String? {
    if number != last.number + 1 {
      return "Checkpoint \(last.number + 1) is missing: after \(last.number) comes \(number)."
    }
    if previous != last.digest {
      return "Checkpoint \(number) was signed after another checkpoint than \(last.number)."
    }
    if sequence < last.sequence || count != sequence - last.sequence {
      return "Checkpoint \(number) counts other entries than the trail has."
    }
    return nil
  }
}
