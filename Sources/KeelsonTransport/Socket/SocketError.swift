import Glibc

/// Why an address, a listener or a connection could not be had, or broke.
package struct SocketError: Error, Hashable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    private let name: String
    /// The text is no address we understand.
    package static let invalidAddress = Code(name: "invalidAddress")
    /// Somebody else listens on the address.
    package static let addressInUse = Code(name: "addressInUse")
    /// The operating system does not let this process have the address.
    package static let permissionDenied = Code(name: "permissionDenied")
    /// Nobody answers there, or the connection broke.
    package static let connectionFailed = Code(name: "connectionFailed")
    /// The peer went past a limit, and was cut off.
    package static let peerMisbehaved = Code(name: "peerMisbehaved")
    /// Anything else the operating system refused.
    package static let system = Code(name: "system")
  }

  package let code: Code
  /// What went wrong and what to do, a sentence.
  package let message: String
  /// The operating system's error number, where there was one.
  package let cause: Int32?

  package init(_ code: Code, _ message: String, cause: Int32? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String { message }

  /// The error for a system call that failed while doing `action`, "listening on …" for example.
  static func system(_ action: String, _ number: Int32) -> SocketError {
    let code: Code =
      switch number {
      case EADDRINUSE: .addressInUse
      case EACCES, EPERM: .permissionDenied
      case ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EPIPE, ENOENT:
        .connectionFailed
      default: .system
      }
    return SocketError(code, "\(action) failed: \(uvMessage(-number)).", cause: number)
  }

}
