package import KeelsonCore

/// A request.
package struct HTTPRequest: Sendable {
  package var method: String
  package var url: String
  /// A header whose value is a secret is never shown: only names are.
  package var headers: [(name: String, value: SecretValue)]
  /// An empty one is announced as such; nil: none is.
  package var body: SecretValue?
  /// How long it may take, connection and all; nil: as the client's options say.
  package var timeout: Duration?
  /// Which addresses it may go to; nil: any.
  package var allowsAddress: (@Sendable (IPAddress) -> Bool)?

  package init(
    _ method: String, _ url: String, headers: [(name: String, value: SecretValue)] = [],
    body: SecretValue? = nil
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

/// What was answered.
package struct HTTPResponse: Sendable {
  package var status: Int
  /// Names in lower case; of several with one name the last.
  package var headers: [String: String]
  /// May hold secrets. Its beginning, where the options say so.
  package var body: SecretValue
  /// How many bytes the whole body had.
  package var bodyBytes: Int

  package init(status: Int, headers: [String: String], body: SecretValue, bodyBytes: Int? = nil) {
    self.status = status
    self.headers = headers
    self.body = body
    self.bodyBytes = bodyBytes ?? body.count
  }

  /// How long to wait before asking again, a day at most; nil when the answer does not say.
  /// Source: RFC 9110 section 10.2.3.
  package var retryAfter: Duration? { retryAfter(now: .now) }

  /// - Parameter now: what a time in the answer is compared with.
  func retryAfter(now: UnixTime) -> Duration? {
    guard let text = headers["retry-after"] else { return nil }
    if let seconds = Int64(text) {
      return seconds >= 0 ? .seconds(min(seconds, 86_400)) : nil
    }
    guard let time = UnixTime(httpDate: text) else { return nil }
    return min(
      max(.zero, .microseconds(time.microseconds - now.microseconds)), .seconds(86_400))
  }
}

/// Why there is no answer.
package struct HTTPFailure: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The URL or an option cannot be meant.
    case invalid
    /// The address may not be connected to.
    case refused
    /// No connection, or it broke.
    case connection
    /// The certificate was not trusted, or TLS failed in another way.
    case tls
    case timeout
    /// The answer is larger than the limit, or no HTTP.
    case malformed
    case cancelled
  }

  package let code: Code
  /// The end of a sentence: "the connection was refused".
  package let reason: String

  package init(code: Code, reason: String) {
    self.code = code
    self.reason = reason
  }

  package var description: String { reason }
}
