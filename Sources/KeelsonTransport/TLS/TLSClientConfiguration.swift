/// How a client secures its connections, and whom it trusts.
public struct TLSClientConfiguration: Sendable, Hashable {
  /// Certificates, as a file or as text.
  public enum Source: Sendable, Hashable {
    /// A PEM file.
    case file(String)
    /// PEM text.
    case pem(String)
  }

  /// Who may have issued the server's certificate.
  public enum TrustRoots: Sendable, Hashable {
    /// Whom the operating system trusts.
    case system
    /// These and nobody else.
    case certificates(Source)
  }

  /// A certificate of the client's own, for servers that ask for one.
  public struct Credential: Sendable, Hashable {
    /// The certificate, then those that lead from it to its root.
    public var certificate: Source
    /// Its private key, not encrypted.
    public var key: Source

    public init(certificate: Source, key: Source) {
      self.certificate = certificate
      self.key = key
    }
  }

  public var trustRoots: TrustRoots
  public var credential: Credential?
  /// The name that the server's certificate has to be for; nil: the host of the target. For a
  /// server that is reached by another name or address than its certificate has.
  public var serverName: String?
  /// Accepts every certificate, so that whoever stands in between can read and change everything.
  /// For tests on one machine only.
  public var insecureSkipsVerification = false

  public init(trustRoots: TrustRoots = .system, credential: Credential? = nil) {
    self.trustRoots = trustRoots
    self.credential = credential
  }
}
