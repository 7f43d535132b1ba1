import KeelsonCrypto

/// The end of a chain of entries: it takes the next one, or checks it.
package struct AuditChain: Sendable, Hashable {
  /// What stands for the hash before the first entry.
  package static let origin = [UInt8](repeating: 0, count: SHA256.digestBytes)

  /// The number of the last entry; 0 before the first.
  package private(set) var sequence: Int64
  /// The hash of the last entry.
  package private(set) var hash: [UInt8]

  /// The chain after some entry, at its beginning unless given.
  package init(sequence: Int64 = 0, hash: [UInt8] = AuditChain.origin) {
    self.sequence = sequence
    self.hash = hash
  }

  /// Gives an entry its number, the hash before it and its own.
  package mutating func append(_ entry: AuditEntry) -> AuditEntry {
    var next = entry
    next.sequence = sequence + 1
    next.previousHash = hash
    next.hash = next.computedHash
    sequence = next.sequence
    hash = next.hash
    return next
  }

  /// Moves on over an entry that is there already.
  ///
  /// - Throws: ``AuditChainBreak`` when it is not the one that follows, or not what was recorded.
  package mutating func verify(_ entry: AuditEntry) throws(AuditChainBreak) {
    guard entry.sequence == sequence + 1 else {
      throw AuditChainBreak(
        sequence: entry.sequence, kind: entry.sequence > sequence + 1 ? .missing : .order,
        message: entry.sequence > sequence + 1
          ? "Entry \(sequence + 1) is missing: after \(sequence) comes \(entry.sequence)."
          : "Entry \(entry.sequence) stands after entry \(sequence).")
    }
    guard entry.hash == entry.computedHash else {
      throw AuditChainBreak(
        sequence: entry.sequence, kind: .content,
        message: "Entry \(entry.sequence) is not what was recorded: its hash does not fit.")
    }
    guard entry.previousHash == hash else {
      throw AuditChainBreak(
        sequence: entry.sequence, kind: .link,
        message: "Entry \(entry.sequence) does not follow entry \(sequence): it was recorded after "
          + "one with another hash.")
    }
    sequence = entry.sequence
    hash = entry.hash
  }
}

/// The first entry that does not fit into its chain.
package struct AuditChainBreak: Error, Hashable, CustomStringConvertible {
  package enum Kind: String, Sendable {
    /// What it says is not what was hashed.
    case content
    /// It names another entry before it.
    case link
    /// Entries before it are missing.
    case missing
    /// It stands where it does not belong.
    case order
    /// It cannot be read as an entry at all.
    case unreadable
  }

  package let sequence: Int64
  package let kind: Kind
  /// A sentence.
  package let message: String

  package init(sequence: Int64, kind: Kind, message: String) {
    self.sequence = sequence
    self.kind = kind
    self.message = message
  }

  package var description: String { message }
}
