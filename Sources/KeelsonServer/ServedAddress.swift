/// An address that the server serves, and what it is like.
package struct ServedAddress: Sendable, Hashable, CustomStringConvertible {
  package enum Kind: Sendable, Hashable {
    case plaintext
    case tls
    /// TLS with client certificates, that must be there or may.
    case mutualTLS(isRequired: Bool)
    /// `grpc.health.v1` only, without TLS.
    case probe
  }

  package let address: String
  package let kind: Kind

  /// The end of a sentence: `on 127.0.0.1:7400 with TLS`.
  package var description: String {
    switch kind {
    case .plaintext: "on \(address)"
    case .tls: "on \(address) with TLS"
    case .mutualTLS(isRequired: true): "on \(address) with TLS and client certificates"
    case .mutualTLS(isRequired: false): "on \(address) with TLS and optional client certificates"
    case .probe: "health checks on \(address)"
    }
  }
}
