package import KeelsonCore

/// A certificate with its chain and its private key, checked to be of use.
struct TLSCredential: Sendable {
  /// Our own certificate first, then those that lead to its root.
  let chain: [Certificate]
  let key: PrivateKey

  /// Reads and checks a pair of files.
  ///
  /// - Throws: ``TLSError`` whose sentence names the file and the cause.
  init(certificateFile: String, keyFile: String, now: UnixTime) throws(TLSError) {
    try self.init(
      certificate: PEMFile(certificateFile, what: "TLS certificate").bytes,
      called: "The TLS certificate file \(certificateFile)",
      key: PEMFile(keyFile, what: "TLS key").bytes, called: "The TLS key file \(keyFile)",
      now: now)
  }

  init(
    certificate: [UInt8], called certificateName: String, key: [UInt8], called keyName: String,
    now: UnixTime
  ) throws(TLSError) {
    chain = try Certificate.all(inPEM: certificate, name: certificateName)
    self.key = try PrivateKey(pem: key, name: keyName)
    guard self.key.belongs(to: chain[0]) else {
      throw TLSError(
        .keyMismatch,
        "\(keyName) is not the key of the certificate in \(Self.lowercased(certificateName)) "
          + "(\(chain[0].subject)): give the two that were issued together.")
    }
    guard now <= chain[0].notAfter else {
      throw TLSError(
        .outsideValidity,
        "\(certificateName) holds a certificate (\(chain[0].subject)) that expired on "
          + "\(chain[0].notAfter.toTheSecond): have a new one issued.")
    }
    guard now >= chain[0].notBefore else {
      throw TLSError(
        .outsideValidity,
        "\(certificateName) holds a certificate (\(chain[0].subject)) that is not valid before "
          + "\(chain[0].notBefore.toTheSecond): wait until then, or check this machine's clock.")
    }
  }

  private static func lowercased(_ name: String) -> String {
    name.prefix(1).lowercased() + name.dropFirst()
  }
}

extension UnixTime {
  /// RFC 3339 without the fraction: `2026-11-21T10:00:00Z`.
  package var toTheSecond: String {
    String(description.prefix { $0 != "." }) + "Z"
  }
}
