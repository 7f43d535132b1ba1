import Glibc
package import KeelsonCore

/// A folder with an authority, a server's certificate and clients' certificates, for development.
///
/// Private keys are written with mode 0600. An authority that is there already issues again, so
/// that whoever trusts it goes on trusting it.
package struct DevelopmentCertificates: Sendable {
  /// How long a new authority is valid.
  private static let authorityDays: Int64 = 3_650
  /// Certificates are valid from this long ago, for clocks that are behind.
  private static let clockToleranceMicroseconds: Int64 = 3_600 * 1_000_000
  private static let dayMicroseconds: Int64 = 86_400 * 1_000_000
  /// What a server in development is always reached by.
  package static let hosts = ["localhost", "127.0.0.1", "::1"]

  /// A certificate that was written.
  package struct Issued: Sendable {
    package let certificateFile: String
    package let keyFile: String
    package let certificate: Certificate
  }

  /// What was done.
  package struct Outcome: Sendable {
    package let authority: Issued
    package let isAuthorityNew: Bool
    package let server: Issued
    package let clients: [Issued]
  }

  private let folder: String
  private let now: UnixTime

  package init(folder: String, now: UnixTime = .now) {
    self.folder = folder.hasSuffix("/") && folder.count > 1 ? String(folder.dropLast()) : folder
    self.now = now
  }

  /// Issues a server's certificate and one for each client.
  ///
  /// - Parameters:
  ///   - hosts: names and addresses of the server beside ``hosts``.
  ///   - clients: each a name, or a URI such as `spiffe://example.org/checkout`.
  ///   - days: how long the certificates are valid; never longer than their authority.
  ///   - replacesAuthority: whether a new authority takes the place of one that is there.
  /// - Throws: ``TLSError`` whose sentence names the file and the cause.
  package func issue(
    hosts: [String], clients: [String], days: Int64, replacesAuthority: Bool
  ) throws(TLSError) -> Outcome {
    if unsafe mkdir(folder, 0o755) != 0, errno != EEXIST {
      throw TLSError(
        .unreadableFile, "The folder \(folder) cannot be made: \(uvMessage(-errno)).")
    }
    let (authority, isNew) = try authority(replacing: replacesAuthority)
    let end = min(
      now.microseconds + days * Self.dayMicroseconds, authority.certificate.notAfter.microseconds)
    let validity = try Self.validity(from: now, to: end)
    let server = try authority.issue(
      .server, commonName: hosts.first.map { String($0.prefix(64)) } ?? Self.hosts[0],
      names: Self.hosts + hosts.filter { !Self.hosts.contains($0) }, validity: validity)
    let written = try write(server, "server")
    var issuedClients: [Issued] = []
    if let twice = clients.first(where: { name in
      clients.filter { Self.fileName($0) == Self.fileName(name) }.count > 1
    }) {
      throw TLSError(
        .malformed,
        "Several clients would have the files \(Self.fileName(twice)).crt and .key: give them names "
          + "that end differently, or make them one after the other in folders of their own.")
    }
    for client in clients {
      let issued = try authority.issue(
        .client, commonName: Self.fileName(client), names: [client], validity: validity)
      issuedClients.append(try write(issued, Self.fileName(client)))
    }
    return Outcome(
      authority: Issued(
        certificateFile: path("ca.crt"), keyFile: path("ca.key"),
        certificate: authority.certificate),
      isAuthorityNew: isNew, server: written, clients: issuedClients)
  }

  private static func validity(
    from now: UnixTime, to end: Int64
  ) throws(TLSError) -> ClosedRange<UnixTime> {
    let start = now.microseconds - clockToleranceMicroseconds
    guard start < end else {
      throw TLSError(
        .outsideValidity,
        "The authority has expired: make a new one with --force, and have everybody trust it.")
    }
    return UnixTime(microseconds: start)...UnixTime(microseconds: end)
  }

  private func authority(
    replacing: Bool
  ) throws(TLSError) -> (authority: CertificateAuthority, isNew: Bool) {
    let (certificateFile, keyFile) = (path("ca.crt"), path("ca.key"))
    let hasCertificate = unsafe access(certificateFile, F_OK) == 0
    let hasKey = unsafe access(keyFile, F_OK) == 0
    if !replacing, hasCertificate || hasKey {
      guard hasCertificate, hasKey else {
        let (there, missing) = hasKey ? (keyFile, certificateFile) : (certificateFile, keyFile)
        throw TLSError(
          .unreadableFile,
          "There is \(there) but no \(missing): name another folder with --folder, or make a new "
            + "authority with --force.")
      }
      let certificates = try Certificate.all(
        inPEM: PEMFile(certificateFile, what: "CA").bytes, name: "The CA file \(certificateFile)")
      let key = try PrivateKey(
        pem: PEMFile(keyFile, what: "CA key").bytes, name: "The CA key file \(keyFile)")
      return (try CertificateAuthority(certificate: certificates[0], key: key), false)
    }
    let end = now.microseconds + Self.authorityDays * Self.dayMicroseconds
    let authority = try CertificateAuthority.make(
      name: "Keelson development CA", validity: Self.validity(from: now, to: end))
    _ = try write((authority.certificate, authority.key), "ca")
    return (authority, true)
  }

  /// The last part of a URI, or the name itself, as far as it is good for a file's name.
  private static func fileName(_ name: String) -> String {
    let last = name.split(separator: "/").last.map(String.init) ?? name
    let plain = last.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.@".contains($0)) }
    let isTaken = plain.isEmpty || plain.hasPrefix(".") || plain == "ca" || plain == "server"
    return String((isTaken ? "client-" + plain : plain).prefix(64))
  }

  private func path(_ file: String) -> String { "\(folder)/\(file)" }

  private func write(
    _ issued: (certificate: Certificate, key: PrivateKey), _ name: String
  ) throws(TLSError) -> Issued {
    let (certificateFile, keyFile) = (path("\(name).crt"), path("\(name).key"))
    try Self.write(issued.key.pem, to: keyFile, mode: 0o600)
    try Self.write(issued.certificate.pem, to: certificateFile, mode: 0o644)
    return Issued(
      certificateFile: certificateFile, keyFile: keyFile, certificate: issued.certificate)
  }

  /// Writes a file beside and moves it into place, so that nobody reads half of it.
  private static func write(_ text: String, to path: String, mode: mode_t) throws(TLSError) {
    let beside = "\(path).new"
    _ = unsafe unlink(beside)
    func failed() -> TLSError {
      TLSError(.unreadableFile, "The file \(path) cannot be written: \(uvMessage(-errno)).")
    }
    let descriptor = unsafe open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw failed() }
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      guard count > 0 else {
        let error = failed()
        close(descriptor)
        _ = unsafe unlink(beside)
        throw error
      }
      rest = rest.dropFirst(count)
    }
    close(descriptor)
    guard unsafe rename(beside, path) == 0 else { throw failed() }
  }
}
