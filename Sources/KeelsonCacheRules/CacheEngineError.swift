/// Why an engine could not do what it was asked to.
package struct CacheEngineError: Error, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// It cannot be reached, does not answer in time, or is loading: trying again later may help. It
    /// is not known whether a write has happened.
    case unavailable
    /// It has answered with an error of its own.
    case failed
    /// Something has to be freed first: patterns that wait for a sweep.
    case full
  }

  package var code: Code
  /// A sentence for the log; without passwords.
  package var message: String
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String { cause.map { "\(message) (\($0))" } ?? message }
}
