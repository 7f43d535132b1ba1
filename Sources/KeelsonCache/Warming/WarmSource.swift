/// Loads values of warm sets from where URLs lead.
package protocol WarmSource: Sendable {
  /// The body of the answer to a GET whose status is 200 to 299. Redirects are not followed.
  ///
  /// - Throws: ``WarmSourceFailure``, also for a body that is larger than a value may be, and when
  ///   the task is cancelled.
  func fetch(_ url: String) async throws(WarmSourceFailure) -> [UInt8]
}

/// Why a value could not be loaded.
package struct WarmSourceFailure: Error, Hashable, CustomStringConvertible {
  /// The end of a sentence: "its URL answered with status 500". Without the URL, which may have a
  /// secret in it.
  package let description: String
  package init(_ description: String) { self.description = description }
}
