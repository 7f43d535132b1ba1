import COpenSSL
package import KeelsonCore

/// Issues certificates for development and tests: ECDSA on P-256, signed with SHA-256.
///
/// Not for production: its key lies in a file, and what it issued cannot be revoked.
package struct CertificateAuthority: Sendable {
  /// What a certificate is for.
  package enum Purpose: Sendable {
    /// A server's, which development uses as a client's as well.
    case server
    case client
  }

  package let certificate: Certificate
  package let key: PrivateKey

  /// An authority that has its certificate and key already.
  ///
  /// - Throws: ``TLSError`` when the two do not belong together, or the certificate may not issue.
  package init(certificate: Certificate, key: PrivateKey) throws(TLSError) {
    guard key.belongs(to: certificate) else {
      throw TLSError(.keyMismatch, "The authority's key is not that of its certificate.")
    }
    guard certificate.isCA else {
      throw TLSError(.malformed, "The authority's certificate may not issue others.")
    }
    self.certificate = certificate
    self.key = key
  }

  /// A new authority, its own issuer.
  package static func make(
    name: String, validity: ClosedRange<UnixTime>
  ) throws(TLSError) -> CertificateAuthority {
    let key = try PrivateKey.make()
    var draft = try Draft(key: key, validity: validity)
    try draft.setSubject(commonName: name)
    try draft.setIssuer(draft.certificate)
    try draft.add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0")
    try draft.add(NID_key_usage, "critical,keyCertSign,cRLSign")
    try draft.add(NID_subject_key_identifier, "hash")
    try draft.sign(with: key)
    return try CertificateAuthority(certificate: draft.certificate, key: key)
  }

  /// Issues a certificate with a key of its own.
  ///
  /// - Parameters:
  ///   - commonName: the subject's; at most 64 bytes.
  ///   - names: each a DNS name, an IP address in numbers, or a URI (with `://`).
  package func issue(
    _ purpose: Purpose, commonName: String, names: [String], validity: ClosedRange<UnixTime>
  ) throws(TLSError) -> (certificate: Certificate, key: PrivateKey) {
    let key = try PrivateKey.make()
    var draft = try Draft(key: key, validity: validity)
    try draft.setSubject(commonName: commonName)
    try draft.setIssuer(certificate)
    try draft.add(NID_basic_constraints, "critical,CA:FALSE")
    try draft.add(NID_key_usage, "critical,digitalSignature")
    switch purpose {
    case .server: try draft.add(NID_ext_key_usage, "serverAuth,clientAuth")
    case .client: try draft.add(NID_ext_key_usage, "clientAuth")
    }
    try draft.add(NID_subject_key_identifier, "hash")
    try draft.add(NID_authority_key_identifier, "keyid:always")
    if !names.isEmpty {
      var entries: [String] = []
      for name in names { entries.append(try Self.entry(name)) }
      try draft.add(NID_subject_alt_name, entries.joined(separator: ","))
    }
    try draft.sign(with: self.key)
    return (draft.certificate, key)
  }

  /// A name as OpenSSL's configuration writes it.
  private static func entry(_ name: String) throws(TLSError) -> String {
    // A comma would begin another entry.
    let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ",") }
    guard !name.isEmpty, isPlain else {
      throw TLSError(
        .malformed,
        "\"\(name)\" is no name for a certificate: write a host name, an address or a URI.")
    }
    if name.contains("://") { return "URI:\(name)" }
    if SocketAddress(numericHost: name, port: 1) != nil { return "IP:\(name)" }
    if name.contains("@") { return "email:\(name)" }
    return "DNS:\(name)"
  }
}

/// A certificate that is being made.
private struct Draft {
  private static let serialBits: Int32 = 127
  let certificate: Certificate
  private var issuer: Certificate?

  init(key: PrivateKey, validity: ClosedRange<UnixTime>) throws(TLSError) {
    guard let x509 = unsafe X509_new() else { throw OpenSSLFailure.error("Making a certificate") }
    certificate = unsafe Certificate(owning: x509)
    // Version 3 is written as 2: RFC 5280 section 4.1.2.1.
    unsafe X509_set_version(x509, 2)
    guard let serial = unsafe BN_new() else { throw OpenSSLFailure.error("Making a certificate") }
    defer { unsafe BN_free(serial) }
    guard unsafe BN_rand(serial, Self.serialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1,
      unsafe BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x509)) != nil,
      unsafe X509_set_pubkey(x509, key.key) == 1,
      unsafe Self.set(X509_getm_notBefore(x509), to: validity.lowerBound),
      unsafe Self.set(X509_getm_notAfter(x509), to: validity.upperBound)
    else { throw OpenSSLFailure.error("Making a certificate") }
  }

  private static func set(_ time: UnsafeMutablePointer<ASN1_TIME>?, to moment: UnixTime) -> Bool {
    unsafe ASN1_TIME_set(time, time_t(moment.microseconds / 1_000_000)) != nil
  }

  func setSubject(commonName: String) throws(TLSError) {
    let name = unsafe X509_get_subject_name(certificate.x509)
    let text = Array(commonName.utf8)
    let status = unsafe X509_NAME_add_entry_by_NID(
      name, NID_commonName, MBSTRING_UTF8, text, Int32(text.count), -1, 0)
    guard status == 1 else {
      throw TLSError(
        .malformed, "\"\(commonName)\" is no name for a certificate: it has 1 to 64 characters.",
        cause: OpenSSLFailure.take().text)
    }
  }

  mutating func setIssuer(_ issuer: Certificate) throws(TLSError) {
    self.issuer = issuer
    guard
      unsafe X509_set_issuer_name(certificate.x509, X509_get_subject_name(issuer.x509)) == 1
    else { throw OpenSSLFailure.error("Making a certificate") }
  }

  /// Adds an extension, written as in OpenSSL's configuration.
  func add(_ extensionID: Int32, _ value: String) throws(TLSError) {
    var context = unsafe X509V3_CTX()
    unsafe X509V3_set_ctx(&context, issuer?.x509, certificate.x509, nil, nil, 0)
    guard let made = unsafe X509V3_EXT_conf_nid(nil, &context, extensionID, value) else {
      let failure = OpenSSLFailure.take()
      throw TLSError(
        .malformed, "\"\(value)\" cannot stand in a certificate: \(failure.text).",
        cause: failure.text)
    }
    defer { unsafe X509_EXTENSION_free(made) }
    guard unsafe X509_add_ext(certificate.x509, made, -1) == 1 else {
      throw OpenSSLFailure.error("Making a certificate")
    }
  }

  func sign(with key: PrivateKey) throws(TLSError) {
    guard unsafe X509_sign(certificate.x509, key.key, EVP_sha256()) > 0 else {
      throw OpenSSLFailure.error("Signing a certificate")
    }
  }
}
