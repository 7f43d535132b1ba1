/// Who the other end of a TLS connection has proved to be: what its certificate says.
///
/// Names are what the certificate's issuer vouched for; nothing in here was chosen by the peer
/// alone.
package struct PeerIdentity: Sendable, Hashable, CustomStringConvertible {
  /// What a certificate says of its owner.
  package struct Names: Sendable, Hashable {
    /// The subject as RFC 2253 writes it, `CN=checkout,O=Example` for example; may be empty.
    package var subject = ""
    /// The subject's common name.
    package var commonName: String?
    /// The subject alternative names of each kind, in the certificate's order.
    package var dnsNames: [String] = []
    /// Among them SPIFFE IDs: `spiffe://example.org/checkout`.
    package var uris: [String] = []
    package var emailAddresses: [String] = []
    /// In numbers: `10.0.0.1`, `2001:db8::1`.
    package var ipAddresses: [String] = []

    package init() {}
  }

  /// One reference, so that a call that carries an identity costs no more than one without.
  private final class Storage: Sendable {
    let names: Names
    let fingerprint: String
    init(_ names: Names, _ fingerprint: String) {
      self.names = names
      self.fingerprint = fingerprint
    }
  }
  private let storage: Storage

  package init(names: Names, fingerprint: String) {
    storage = Storage(names, fingerprint)
  }

  package var names: Names { storage.names }
  /// SHA-256 of the certificate, 64 digits of base 16 in small letters.
  package var fingerprint: String { storage.fingerprint }

  /// The name to show and to decide by: the first URI, else the first DNS name, else the common
  /// name, else the subject.
  package var name: String {
    names.uris.first ?? names.dnsNames.first ?? names.commonName ?? names.subject
  }

  package var description: String { name }

  package static func == (left: PeerIdentity, right: PeerIdentity) -> Bool {
    left.fingerprint == right.fingerprint && left.names == right.names
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(fingerprint)
  }
}
