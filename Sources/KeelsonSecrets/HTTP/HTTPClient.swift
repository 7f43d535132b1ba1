/// Sends requests to a store.
protocol HTTPClient: Sendable {
  /// - Throws: ``HTTPFailure``.
  func send(_ request: HTTPRequest) async throws(HTTPFailure) -> HTTPResponse
}

/// How requests are sent.
package struct HTTPOptions: Sendable, Equatable {
  /// How long a connection may take.
  package var connectTimeout: Duration = .seconds(5)
  /// How long a request may take, connection and all.
  package var timeout: Duration = .seconds(15)
  /// How large an answer may be.
  package var maximumResponseBytes = 8 << 20
  /// Whose certificates are trusted, PEM; nil: those that the system trusts.
  package var caFile: String?
  /// The proxy, `http://host:port`; nil: none, whatever the environment says.
  package var proxy: String?

  package init() {}
}
