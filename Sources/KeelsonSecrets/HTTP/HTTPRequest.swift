/// A request to a store.
struct HTTPRequest: Sendable {
  var method: String
  var url: String
  /// A header whose value is a secret is never shown: only names are.
  var headers: [(name: String, value: SecretValue)]
  var body: SecretValue?

  init(
    _ method: String, _ url: String, headers: [(name: String, value: SecretValue)] = [],
    body: SecretValue? = nil
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

/// What a store answered.
struct HTTPResponse: Sendable {
  var status: Int
  /// Names in lower case; of several with one name the last.
  var headers: [String: String]
  /// May hold secrets.
  var body: SecretValue

  /// How long to wait before asking again; nil when the answer does not say in seconds.
  /// Source: RFC 9110 section 10.2.3.
  var retryAfter: Duration? {
    guard let text = headers["retry-after"], let seconds = Int64(text), seconds >= 0 else {
      return nil
    }
    return .seconds(min(seconds, 86_400))
  }
}

/// Why there is no answer.
struct HTTPFailure: Error, Sendable, Hashable, CustomStringConvertible {
  enum Code: Sendable, Hashable {
    /// The URL or an option cannot be meant.
    case invalid
    /// No connection, or it broke.
    case connection
    /// The certificate was not trusted, or TLS failed in another way.
    case tls
    case timeout
    /// The answer is larger than the limit, or no HTTP.
    case malformed
    case cancelled
  }

  let code: Code
  /// The end of a sentence: "the connection was refused".
  let reason: String

  var description: String { reason }
}
