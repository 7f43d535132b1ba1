import KeelsonCore
import KeelsonHTTP

/// What an answer of Vault's says that is no success.
///
/// Source: Vault's HTTP API, "HTTP status codes" and "Error response".
struct VaultFailure {
  let error: SecretStoreError

  init(_ response: HTTPResponse, name: String, what: String) {
    error = Self.error(response, name, what)
  }

  private static func error(
    _ response: HTTPResponse, _ name: String, _ what: String
  ) -> SecretStoreError {
    let errors = Self.errors(response)
    let said = errors.map { " It says: \($0)." } ?? ""
    switch response.status {
    case 300..<400:
      let target = response.headers["location"].map { " to \($0)" } ?? ""
      return SecretStoreError(
        .unavailable,
        "\(name) sends us on\(target), and redirects are not followed since the token would go "
          + "along: give the address of the active node, or of what balances the nodes.",
        cause: errors)
    case 400:
      return SecretStoreError(
        .settings, "\(name) does not understand the request for \(what).\(said)", cause: errors)
    case 403 where isOfToken(response):
      return SecretStoreError(
        .denied,
        "\(name) does not accept the token: it has expired, was revoked, or is not one of this "
          + "Vault's. Give a new one.", cause: errors)
    case 403:
      return SecretStoreError(
        .denied,
        "\(name) refuses \(what): permission denied. Give our token's policy the capability for "
          + "that path, check mount, path and namespace, and that the token has not expired.",
        cause: errors)
    case 404:
      if let gone = Self.gone(response) {
        return SecretStoreError(
          .missing,
          "\(name) has \(what) no longer: \(gone). Restore it ('vault kv undelete'), or write it "
            + "anew.", cause: errors)
      }
      return SecretStoreError(
        .missing,
        "\(name) has not got \(what), or does not let us know: check mount, path and namespace.",
        cause: errors)
    case 405:
      return SecretStoreError(
        .settings,
        "\(name) does not support the request for \(what): is the mount of the right kind (KV "
          + "version 2, transit)?\(said)", cause: errors)
    case 429:
      return SecretStoreError(
        .throttled, "\(name) asks for fewer requests: it is over its rate limit quota.",
        cause: errors)
    case 472, 473:
      return SecretStoreError(
        .unavailable, "\(name) is a standby: give the address of the active node.", cause: errors)
    case 501:
      return SecretStoreError(
        .unavailable, "\(name) is not initialised: run 'vault operator init' there.", cause: errors)
    case 503:
      return SecretStoreError(
        .unavailable,
        "\(name) is sealed or down for maintenance: unseal it ('vault operator unseal').\(said)",
        cause: errors)
    default:
      return SecretStoreError(
        .failed, "\(name) failed with HTTP status \(response.status) for \(what).\(said)",
        cause: errors)
    }
  }

  /// For a version that was deleted or destroyed, the answer is 404 with its metadata.
  private static func gone(_ response: HTTPResponse) -> String? {
    guard let metadata = response.json?["data"]?["metadata"],
      let version = metadata["version"]?.numberValue.flatMap({ Int(exactly: $0) })
    else { return nil }
    if metadata["destroyed"]?.boolValue == true { return "version \(version) was destroyed" }
    guard let time = metadata["deletion_time"]?.stringValue, !time.isEmpty else { return nil }
    return "version \(version) was deleted on \(time.prefix(40))"
  }

  /// Whether a refusal is about the token and not about what it may do. Older Vaults do not say.
  static func isOfToken(_ response: HTTPResponse) -> Bool {
    let said = errors(response) ?? ""
    return said.contains("invalid token") || said.contains("bad token")
  }

  /// What the body says, shortened; nil when it says nothing.
  static func errors(_ response: HTTPResponse) -> String? {
    let errors = response.json?["errors"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let text = errors.joined(separator: "; ").split(whereSeparator: \.isNewline)
      .joined(separator: " ")
    return text.isEmpty ? nil : String(text.prefix(300))
  }
}
