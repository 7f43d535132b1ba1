/// Sends requests.
package protocol HTTPClient: Sendable {
  /// - Throws: ``HTTPFailure``.
  func send(_ request: HTTPRequest) async throws(HTTPFailure) -> HTTPResponse
}

/// How requests are sent.
package struct HTTPOptions: Sendable, Equatable {
  /// How long a connection may take.
  package var connectTimeout: Duration = .seconds(5)
  /// How long a request may take, connection and all, where the request does not say.
  package var timeout: Duration = .seconds(15)
  /// How much of an answer's body is kept.
  package var maximumResponseBytes = 8 << 20
  /// Whether the rest of a body that is larger is dropped; otherwise the request fails.
  package var keepsBeginning = false
  /// Whose certificates are trusted, PEM; nil: those that the system trusts.
  package var caFile: String?
  /// The proxy, `http://host:port`; nil: none, whatever the environment says.
  package var proxy: String?

  package init() {}
}
