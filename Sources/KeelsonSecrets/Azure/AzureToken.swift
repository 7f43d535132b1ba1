import KeelsonCore
import KeelsonHTTP

/// Access tokens by client credentials, kept until shortly before they expire.
///
/// Source: Microsoft identity platform, "OAuth 2.0 client credentials flow", first case: access
/// token request with a shared secret; RFC 6749 section 4.4.
actor AzureToken {
  /// A new token is fetched this long before the old one expires, or once half of its life is over
  /// when that is shorter.
  private static let ahead: Duration = .seconds(300)

  private let configuration: AzureConfiguration
  private let client: RetryingClient
  private let now: @Sendable () -> ContinuousClock.Instant
  private var held: (token: SecretValue, renewal: ContinuousClock.Instant)?

  init(
    _ configuration: AzureConfiguration, client: RetryingClient,
    now: @escaping @Sendable () -> ContinuousClock.Instant
  ) {
    self.configuration = configuration
    self.client = client
    self.now = now
  }

  /// - Parameter refused: a token that the vault did not accept: it is not given again.
  /// - Throws: ``SecretStoreError``; `CancellationError`.
  func token(otherThan refused: SecretValue? = nil) async throws -> SecretValue {
    if let held, held.token != refused, now() < held.renewal { return held.token }
    let response = try await ask()
    guard response.status == 200 else { throw failure(response) }
    guard let answer = response.json, let text = answer["access_token"]?.stringValue,
      let seconds = answer["expires_in"]?.numberValue, seconds > 0,
      answer["token_type"]?.stringValue?.lowercased() == "bearer"
    else {
      throw SecretStoreError(
        .malformed,
        "\(name) answered without a token: check the address of the authority and the tenant.")
    }
    let token = SecretValue(text)
    let life: Duration = .seconds(min(seconds, 86_400))
    held = (token, now().advanced(by: max(life - Self.ahead, life / 2)))
    return token
  }

  private nonisolated var name: String {
    "Microsoft Entra ID at \(configuration.authority.text)"
  }

  private func ask() async throws -> HTTPResponse {
    let secret: SecretValue
    switch configuration.secret {
    case .value(let value): secret = value
    case .file(let path): secret = try SecretFile(path, what: "client secret file").line
    }
    let form = [
      ("client_id", configuration.client), ("scope", configuration.scope),
      ("client_secret", secret.text), ("grant_type", "client_credentials"),
    ]
    let body = form.map { "\($0)=\($1.percentEncoded())" }.joined(separator: "&")
    let request = HTTPRequest(
      "POST",
      "\(configuration.authority.text)/\(configuration.tenant.percentEncoded())/oauth2/v2.0/token",
      headers: [
        ("Content-Type", SecretValue("application/x-www-form-urlencoded")),
        ("Accept", SecretValue("application/json")),
      ],
      body: SecretValue(body))
    do throws(HTTPFailure) {
      return try await client.send(request)
    } catch {
      throw try SecretStoreError(error, name: name)
    }
  }

  private func failure(_ response: HTTPResponse) -> SecretStoreError {
    let code = response.json?["error"]?.stringValue ?? ""
    // Its first line; the others are trace ids and the time.
    let description = response.json?["error_description"]?.stringValue?
      .split(whereSeparator: \.isNewline).first.map { String($0.prefix(200)) }
    let said = description.map { " It says: \($0)" } ?? ""
    let cause = description.map { "\(code): \($0)" } ?? "HTTP status \(response.status)"
    switch (response.status, code) {
    case (_, "invalid_client"):
      return SecretStoreError(
        .denied,
        "\(name) does not accept the client secret of \(configuration.client): it is wrong or has "
          + "expired. Give a new one.\(said)", cause: cause)
    case (_, "unauthorized_client"), (_, "invalid_request"), (_, "invalid_scope"), (404, _),
      (_, "invalid_tenant"):
      return SecretStoreError(
        .settings,
        "\(name) does not know the application \(configuration.client) in the tenant "
          + "\(configuration.tenant), or not for this scope: check the three.\(said)", cause: cause)
    case (429, _):
      return SecretStoreError(
        .throttled, "\(name) asks for fewer requests.\(said)", cause: cause)
    case (300..<400, _):
      return SecretStoreError(
        .malformed, "\(name) sends us on, and redirects are not followed: check its address.",
        cause: cause)
    default:
      return SecretStoreError(
        .failed, "\(name) gave no token: HTTP status \(response.status).\(said)", cause: cause)
    }
  }
}
