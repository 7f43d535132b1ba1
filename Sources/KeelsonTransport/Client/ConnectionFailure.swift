package import KeelsonCore

/// Why an address could not be connected to.
package struct ConnectionFailure: Error, Sendable, Hashable {
  /// The address or name.
  package let address: String
  /// What happened, in words that may follow the address.
  package let reason: String

  /// Whether a server was there, and no use: asking whether it runs would lead astray.
  package let hasAnswered: Bool

  package init(address: String, reason: String, hasAnswered: Bool = false) {
    self.address = address
    self.reason = reason
    self.hasAnswered = hasAnswered
  }
}

extension RPCError {
  /// The error of calls that found no connection.
  ///
  /// - Parameter target: as its user wrote it.
  package init(_ failures: [ConnectionFailure], target: String) {
    let reasons = failures.map { failure in
      failure.address == target || failures.count == 1 && target.contains(failure.address)
        ? failure.reason : "\(failure.address) \(failure.reason)"
    }
    let advice = failures.contains(where: \.hasAnswered) ? "." : "; is the server running?"
    self.init(.unavailable, "\(target): \(reasons.joined(separator: ", "))\(advice)")
  }
}
