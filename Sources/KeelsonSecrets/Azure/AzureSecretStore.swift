import KeelsonCore

/// The secrets of an Azure Key Vault: `--` in a name parts sections, since a name has letters,
/// digits and hyphens only.
///
/// Secrets that are disabled, and those that back certificates, are left out. A secret is fetched
/// again only when its time of change is another.
/// Source: Key Vault REST API, "Get Secrets" and "Get Secret", version 7.4.
package actor AzureSecretStore: SecretStore {
  /// How many pages of the list are followed.
  private static let maximumPages = 400
  /// How many a page is asked to have: as many as the API allows.
  private static let pageSize = 25
  private static let maximumSecrets = 10_000

  private let configuration: AzureConfiguration
  private let client: RetryingClient
  private let token: AzureToken
  /// What was fetched, by name.
  private var fetched: [String: (updated: Double?, value: SecretValue)] = [:]

  /// A secret in the list.
  private struct Listed {
    let name: String
    let updated: Double?
  }

  package init(_ configuration: AzureConfiguration) {
    self.init(configuration, client: RetryingClient(CurlClient(configuration.http)))
  }

  init(
    _ configuration: AzureConfiguration, client: RetryingClient,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    self.configuration = configuration
    self.client = client
    token = AzureToken(configuration, client: client, now: now)
  }

  nonisolated package var name: String { "Azure Key Vault at \(configuration.vault.text)" }

  package func load() async throws -> LoadedSecrets {
    let listed = try await list()
    var loaded = LoadedSecrets()
    var kept: [String: (updated: Double?, value: SecretValue)] = [:]
    for secret in listed {
      let value: SecretValue
      if let known = fetched[secret.name], let updated = secret.updated, known.updated == updated {
        value = known.value
      } else {
        value = try await fetch(secret.name)
      }
      kept[secret.name] = (secret.updated, value)
      let key = secret.name.replacing("--", with: ":")
      guard loaded.values.updateValue(value, forKey: key) == nil else {
        throw SecretStoreError(
          .malformed, "\(name) has several secrets that mean the key \(key): remove one.")
      }
    }
    fetched = kept
    return loaded
  }

  // MARK: List

  private func list() async throws -> [Listed] {
    var found: [Listed] = []
    var seen: Set<String> = []
    var url: String? =
      "\(configuration.vault.text)/secrets?api-version=\(AzureConfiguration.apiVersion)"
      + "&maxresults=\(Self.pageSize)"
    while let page = url {
      guard seen.insert(page).inserted, seen.count <= Self.maximumPages else {
        throw SecretStoreError(
          .malformed,
          "\(name) lists its secrets without end: more than \(Self.maximumPages) pages, or the same "
            + "page twice.")
      }
      let answer = try await get(page, what: "the list of secrets")
      guard let entries = answer["value"]?.arrayValue else {
        throw malformed("the list of secrets")
      }
      found += try entries.compactMap(listed)
      guard found.count <= Self.maximumSecrets else {
        throw SecretStoreError(
          .settings,
          "\(name) has more than \(Self.maximumSecrets) secrets: give Keelson a vault of its own.")
      }
      url = try next(answer)
    }
    return found
  }

  /// nil for one that is not to be loaded.
  private func listed(_ entry: JSONValue) throws(SecretStoreError) -> Listed? {
    // The id is https://{vault}/secrets/{name}.
    guard let id = entry["id"]?.stringValue, let last = id.split(separator: "/").last,
      id.contains("/secrets/"), last.utf8.count <= 127,
      last.utf8.allSatisfy({
        $0 < 0x80
          && (Character(Unicode.Scalar($0)).isLetter
            || Character(Unicode.Scalar($0)).isNumber || $0 == UInt8(ascii: "-"))
      })
    else { throw malformed("the list of secrets") }
    let attributes = entry["attributes"]
    guard attributes?["enabled"]?.boolValue != false, entry["managed"]?.boolValue != true else {
      return nil
    }
    return Listed(name: String(last), updated: attributes?["updated"]?.numberValue)
  }

  /// The address of the next page. It goes to the same host only: our token would go along.
  private func next(_ answer: JSONValue) throws(SecretStoreError) -> String? {
    guard let link = answer["nextLink"]?.stringValue, !link.isEmpty else { return nil }
    let url = try? StoreURL(parsing: link, what: "The next page", allowsPlaintext: true)
    guard let url, url.origin == configuration.vault.origin else {
      throw SecretStoreError(
        .malformed,
        "\(name) names another host for the rest of its list: our token is not sent there. Check "
          + "the vault's address and what stands between.")
    }
    return url.text
  }

  // MARK: Requests

  private func fetch(_ secret: String) async throws -> SecretValue {
    let what = "the secret \(secret)"
    let answer = try await get(
      "\(configuration.vault.text)/secrets/\(secret)?api-version=\(AzureConfiguration.apiVersion)",
      what: what)
    guard let value = answer["value"]?.stringValue else { throw malformed(what) }
    return SecretValue(value)
  }

  private func get(_ url: String, what: String) async throws -> JSONValue {
    let first = try await token.token()
    var response = try await send(url, first)
    if response.status == 401 {
      response = try await send(url, try await token.token(otherThan: first))
    }
    guard response.status == 200 else { throw failure(response, what) }
    guard let answer = response.json else { throw malformed(what) }
    return answer
  }

  private func send(_ url: String, _ token: SecretValue) async throws -> HTTPResponse {
    let request = HTTPRequest(
      "GET", url,
      headers: [
        ("Authorization", SecretValue("Bearer \(token.text)")),
        ("Accept", SecretValue("application/json")),
      ])
    do throws(HTTPFailure) {
      return try await client.send(request)
    } catch {
      throw try SecretStoreError(error, name: name)
    }
  }

  private nonisolated func malformed(_ what: String) -> SecretStoreError {
    SecretStoreError(
      .malformed,
      "\(name) answered the request for \(what) with something that its API does not have: check "
        + "that the address is the vault's own.")
  }

  /// Source: Key Vault REST API, KeyVaultError; "Azure Key Vault throttling guidance".
  private nonisolated func failure(_ response: HTTPResponse, _ what: String) -> SecretStoreError {
    let error = response.json?["error"]
    let code = error?["code"]?.stringValue ?? "HTTP status \(response.status)"
    let cause = error?["message"]?.stringValue.map { "\(code): \($0.prefix(300))" } ?? code
    switch response.status {
    case 300..<400:
      return SecretStoreError(
        .malformed,
        "\(name) sends us on, and redirects are not followed since the token would go along: check "
          + "its address.", cause: cause)
    case 401:
      return SecretStoreError(
        .denied,
        "\(name) does not accept our token: check the tenant and the scope.", cause: cause)
    case 403:
      return SecretStoreError(
        .denied,
        "\(name) refuses \(what) (\(code)): give the application the role 'Key Vault Secrets User' "
          + "(get and list), and let the vault's firewall admit this machine.", cause: cause)
    case 404:
      return SecretStoreError(
        .missing, "\(name) has not got \(what) (\(code)): check the vault's address.",
        cause: cause)
    case 429:
      return SecretStoreError(
        .throttled,
        "\(name) asks for fewer requests: have fewer servers or secrets share the vault.",
        cause: cause)
    default:
      return SecretStoreError(
        .failed, "\(name) failed for \(what): \(code), HTTP status \(response.status).",
        cause: cause)
    }
  }
}
