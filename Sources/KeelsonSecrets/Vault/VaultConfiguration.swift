package import KeelsonCore
package import KeelsonHTTP

/// How HashiCorp Vault is reached, and who we are to it.
package struct VaultConfiguration: Sendable {
  /// Who we are.
  package enum Authentication: Sendable {
    /// A token, given outright.
    case token(SecretValue)
    /// A token in a file, read again when it changes: Vault's agent writes such a file.
    case tokenFile(String)
    /// A service account of Kubernetes: the role in Vault, and the file with the account's JWT.
    case kubernetes(role: String, tokenFile: String, mount: String)
  }

  /// Where Kubernetes puts the JWT of a pod's service account.
  package static let kubernetesTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

  package var address: StoreURL
  package var authentication: Authentication
  /// Of Vault Enterprise and HCP; nil: the root.
  package var namespace: String?
  package var http = HTTPOptions()

  /// - Throws: ``SecretStoreError`` with code `settings`.
  package init(
    address: String, authentication: Authentication, allowsPlaintext: Bool = false
  ) throws(SecretStoreError) {
    self.address = try StoreURL(
      parsing: address, what: "The address of Vault", allowsPlaintext: allowsPlaintext)
    self.authentication = authentication
  }
}
