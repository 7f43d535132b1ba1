import COpenSSL

/// Why something could not be sealed, opened, signed or checked.
package struct CryptoError: Error, Hashable, CustomStringConvertible {
  package struct Code: Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// A key, a signature or a sealed value has the wrong form or length.
    package static let malformed = Code(description: "malformed")
    /// The sealed value was changed, is bound to something else, or the key is another.
    package static let unauthentic = Code(description: "unauthentic")
    /// No key has the identifier that a wrapped key names.
    package static let missingKey = Code(description: "missing key")
    /// A service that keeps keys cannot be used right now.
    package static let unavailable = Code(description: "unavailable")
    /// OpenSSL refused; out of memory as a rule.
    package static let system = Code(description: "system")
  }

  package let code: Code
  /// What went wrong and what to do: a sentence without any secret.
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }

  /// What OpenSSL's error queue of this thread says, which is emptied.
  static func system(_ action: String) -> CryptoError {
    let number = ERR_get_error()
    ERR_clear_error()
    guard number != 0, let text = unsafe ERR_reason_error_string(number) else {
      return CryptoError(.system, "\(action) failed.")
    }
    return CryptoError(.system, "\(action) failed: \(unsafe String(cString: text)).")
  }
}
