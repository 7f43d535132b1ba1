/// What went wrong in the database.
package struct StoreError: Error, Sendable {
  package var code: Code
  /// What is wrong and what to do about it, for the log and the operator. It may name SQL and
  /// paths, so it must not reach a peer.
  package var message: String
  /// For ``Code/conflict``: the constraint that was broken, in the form `table.column` (several
  /// columns joined by `, `) or the constraint's name.
  package var constraint: String?
  /// What led to it.
  package var cause: (any Error)?

  package init(
    _ code: Code, _ message: String, constraint: String? = nil, cause: (any Error)? = nil
  ) {
    self.code = code
    self.message = message
    self.constraint = constraint
    self.cause = cause
  }

  package struct Code: Sendable, Hashable, CustomStringConvertible {
    package let description: String

    /// A unique or primary key stands already.
    package static let conflict = Code(description: "conflict")
    /// Another constraint (foreign key, check, not null, type, append-only) forbids it.
    package static let constraint = Code(description: "constraint")
    /// No space is left. Reads go on; writes work again when there is space.
    package static let full = Code(description: "full")
    /// Another process or connection holds the database.
    package static let busy = Code(description: "busy")
    /// The database's server cannot be reached, or the connection to it was lost before anything
    /// was committed. It is tried again by itself.
    package static let unreachable = Code(description: "unreachable")
    /// The connection was lost while a change was committed, and whether it is there could not be
    /// found out: it may or may not have been made.
    package static let outcomeUnknown = Code(description: "outcome unknown")
    /// A statement ran longer than it may, or than the call it serves had time.
    package static let timedOut = Code(description: "timed out")
    /// The file is damaged or is no database of ours.
    package static let corrupt = Code(description: "corrupt")
    /// A migration that ran is not the one this binary has.
    package static let schemaMismatch = Code(description: "schema mismatch")
    /// The database has migrations that this binary does not know.
    package static let tooNew = Code(description: "too new")
    /// The database has been closed.
    package static let closed = Code(description: "closed")
    /// Reading or writing the files failed, or they may not be written.
    package static let io = Code(description: "input/output")
    /// More writes wait than the engine lets wait; try again later.
    package static let overloaded = Code(description: "overloaded")
    /// The events asked for have been compacted away; start again from a snapshot.
    package static let revisionTooOld = Code(description: "revision too old")
    /// The caller's fault: wrong SQL, wrong parameters, a change without audit entry.
    package static let misuse = Code(description: "misuse")
  }
}

extension StoreError: CustomStringConvertible {
  package var description: String {
    let text = "\(code): \(message)"
    return cause.map { "\(text) (\($0))" } ?? text
  }
}
