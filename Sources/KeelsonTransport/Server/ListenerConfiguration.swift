/// One address that a ``Server`` listens on, how it is secured, and what is served there.
package struct ListenerConfiguration: Sendable {
  package enum Security: Sendable {
    case plaintext
    case tls(TLSServerCertificates)
  }

  package enum Services: Sendable {
    /// All routes of the server.
    case all
    /// Those of one service; every other method is UNIMPLEMENTED.
    case only(String)
  }

  package var address: ListenAddress
  package var security: Security
  package var services: Services

  package init(
    _ address: ListenAddress, security: Security = .plaintext, services: Services = .all
  ) {
    self.address = address
    self.security = security
    self.services = services
  }
}
