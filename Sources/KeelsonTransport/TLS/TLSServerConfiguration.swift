/// How a server proves who it is, and what it asks of its clients.
package struct TLSServerConfiguration: Sendable, Hashable {
  /// Whether clients show a certificate.
  package enum ClientAuthentication: String, Sendable, CaseIterable {
    /// They are not asked.
    case none
    /// They are asked; one that has none is served, without an identity.
    case optional
    /// One that has none is refused.
    case required
  }

  /// A PEM file: the server's certificate, then those that lead from it to its root.
  package var certificateFile: String
  /// A PEM file: the private key of the certificate, not encrypted.
  package var keyFile: String
  /// A PEM file: who may have issued the clients' certificates. Needed unless clients are not
  /// asked for one.
  package var clientCAFile: String?
  package var clientAuthentication = ClientAuthentication.none
  /// How often is looked whether the files have changed.
  package var reloadInterval: Duration = .seconds(1)

  package init(certificateFile: String, keyFile: String) {
    self.certificateFile = certificateFile
    self.keyFile = keyFile
  }
}
