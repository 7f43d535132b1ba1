package import KeelsonCore
package import KeelsonHTTP

/// How Azure Key Vault is reached, and who we are to it.
package struct AzureConfiguration: Sendable {
  /// The version of the vault's API that is spoken.
  static let apiVersion = "7.4"

  package var vault: StoreURL
  /// The tenant's id or domain.
  package var tenant: String
  /// The application's (client's) id.
  package var client: String
  /// The application's secret.
  package var secret: Secret
  /// Where tokens are had: that of Azure's public cloud unless another is given.
  package var authority: StoreURL
  /// What the token is for.
  package var scope = "https://vault.azure.net/.default"
  package var http = HTTPOptions()
  private let allowsPlaintext: Bool

  /// Where the application's secret is.
  package enum Secret: Sendable {
    case value(SecretValue)
    /// Read again for each token.
    case file(String)
  }

  /// - Throws: ``SecretStoreError`` with code `settings`.
  package init(
    vault: String, tenant: String, client: String, secret: Secret,
    authority: String = "https://login.microsoftonline.com", allowsPlaintext: Bool = false
  ) throws(SecretStoreError) {
    self.vault = try StoreURL(
      parsing: vault, what: "The address of Azure Key Vault", allowsPlaintext: allowsPlaintext)
    self.authority = try StoreURL(
      parsing: authority, what: "The address of Microsoft Entra ID",
      allowsPlaintext: allowsPlaintext)
    self.tenant = tenant
    self.client = client
    self.secret = secret
    self.allowsPlaintext = allowsPlaintext
  }

  /// The same credentials for another vault.
  ///
  /// - Throws: ``SecretStoreError`` with code `settings`.
  package func with(vault: String) throws(SecretStoreError) -> AzureConfiguration {
    var configuration = self
    configuration.vault = try StoreURL(
      parsing: vault, what: "The address of Azure Key Vault", allowsPlaintext: allowsPlaintext)
    return configuration
  }
}
