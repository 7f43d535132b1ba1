import KeelsonCore
import KeelsonHTTP

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
  private static let certainAfterSeconds = 30.0
  /// Unlike Vault's, its 503 may pass.
  static let passing = RetryingClient.usuallyPassing.union([503])

  private let configuration: AzureConfiguration
  private let client: RetryingClient
  private let token: AzureToken
  /// What was fetched, by name.
  private var fetched: [String: Fetched] = [:]
  private let date: @Sendable () -> UnixTime

  /// A value, and whether it can be told from its time of change that it is still the one.
  private struct Fetched {
    let updated: Double?
    /// Seconds since 1970 when it was fetched.
    let moment: Double
    let value: SecretValue

    /// The time of change has whole seconds, and clocks differ: what was changed just before it was
    /// fetched may have been changed once more since.
    func isStill(_ listed: Listed) -> Bool {
      guard let updated, updated == listed.updated else { return false }
      return updated + AzureSecretStore.certainAfterSeconds <= moment
    }
  }

  /// A secret in the list.
  private struct Listed {
    let name: String
    let updated: Double?
  }

  package init(_ configuration: AzureConfiguration) {
    self.init(
      configuration, client: RetryingClient(CurlClient(configuration.http), passing: Self.passing))
  }

  init(
    _ configuration: AzureConfiguration, client: RetryingClient,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
    date: @escaping @Sendable () -> UnixTime = { .now }
  ) {
    self.configuration = configuration
    self.date = date
    self.client = client
    token = AzureToken(configuration, client: client, now: now)
  }

  nonisolated package var name: String { "Azure Key Vault at \(configuration.vault.text)" }

  package func load() async throws -> LoadedSecrets {
    let listed = try await list()
    var loaded = LoadedSecrets()
    var kept: [String: Fetched] = [:]
    for secret in listed {
      var held = fetched[secret.name]
      if held?.isStill(secret) != true { held = try await fetch(secret) }
      // Deleted since it was listed.
      guard let held else { continue }
      kept[secret.name] = held
      let key = secret.name.replacing("--", with: ":")
      guard loaded.values.updateValue(held.value, forKey: key) == nil else {
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
      let answer = try answer(try await get(page), "the list of secrets")
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

  /// - Returns: nil when there is no such secret any more.
  private func fetch(_ secret: Listed) async throws -> Fetched? {
    let what = "the secret \(secret.name)"
    let moment = Double(date().microseconds) / 1_000_000
    let url =
      "\(configuration.vault.text)/secrets/\(secret.name)"
      + "?api-version=\(AzureConfiguration.apiVersion)"
    let response = try await get(url)
    if response.status == 404 { return nil }
    guard let value = try answer(response, what)["value"]?.stringValue else {
      throw malformed(what)
    }
    return Fetched(updated: secret.updated, moment: moment, value: SecretValue(value))
  }

  private func get(_ url: String) async throws -> HTTPResponse {
    let first = try await token.token()
    let response = try await send(url, first)
    guard response.status == 401 else { return response }
    return try await send(url, try await token.token(otherThan: first))
  }

  private func answer(
    _ response: HTTPResponse, _ what: String
  ) throws(SecretStoreError) -> JSONValue {
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
