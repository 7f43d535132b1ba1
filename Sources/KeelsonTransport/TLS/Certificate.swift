import COpenSSL
package import KeelsonCore

/// An X.509 certificate.
///
/// `@unchecked Sendable`: immutable; OpenSSL's own reference counts and caches are atomic.
@safe package final class Certificate: @unchecked Sendable {
  let x509: OpaquePointer

  /// Takes over a reference.
  init(owning x509: OpaquePointer) {
    unsafe self.x509 = unsafe x509
  }

  /// Shares a certificate that somebody else holds.
  convenience init(sharing x509: OpaquePointer) {
    unsafe X509_up_ref(x509)
    unsafe self.init(owning: x509)
  }

  deinit {
    unsafe X509_free(x509)
  }

  /// All certificates of a PEM text, in order.
  ///
  /// - Parameter name: what the text is called in an error, `the file /etc/tls.crt` for example.
  /// - Throws: ``TLSError`` with code `malformed`, also when there is none.
  package static func all(inPEM text: [UInt8], name: String) throws(TLSError) -> [Certificate] {
    ERR_clear_error()
    let certificates: [Certificate]? = unsafe withMemoryBIO(text) { bio in
      var found: [Certificate] = []
      while let x509 = unsafe PEM_read_bio_X509(bio, nil, nil, nil) {
        found.append(unsafe Certificate(owning: x509))
      }
      return found
    }
    let failure = OpenSSLFailure.take()
    guard let certificates, !certificates.isEmpty || failure.reason == PEM_R_NO_START_LINE else {
      throw TLSError(
        .malformed, "\(name) is damaged: \(failure.text).", cause: failure.text)
    }
    guard !certificates.isEmpty else {
      throw TLSError(
        .malformed,
        "\(name) holds no certificate: it has no line -----BEGIN CERTIFICATE-----.",
        cause: failure.text)
    }
    // The end of the text is the only reason to stop.
    guard failure.reason == PEM_R_NO_START_LINE else {
      throw TLSError(
        .malformed,
        "\(name) is damaged at certificate number \(certificates.count + 1): \(failure.text).",
        cause: failure.text)
    }
    return certificates
  }

  /// All certificates of a PEM file.
  ///
  /// - Throws: ``TLSError`` that names the file and the cause.
  package static func all(inFile path: String) throws(TLSError) -> [Certificate] {
    try all(inPEM: PEMFile(path, what: "certificate").bytes, name: "The file \(path)")
  }

  /// The certificate as a PEM block.
  package var pem: String {
    unsafe PEMText.written { bio in unsafe PEM_write_bio_X509(bio, x509) }
  }

  // MARK: What it says

  /// From when on it is valid.
  package var notBefore: UnixTime { unsafe Self.time(X509_get0_notBefore(x509)) }
  /// The last moment it is valid.
  package var notAfter: UnixTime { unsafe Self.time(X509_get0_notAfter(x509)) }
  /// The subject, as RFC 2253 writes it.
  package var subject: String { unsafe Self.text(X509_get_subject_name(x509)) }
  /// Who issued it, as RFC 2253 writes it.
  package var issuer: String { unsafe Self.text(X509_get_issuer_name(x509)) }
  /// Whether it is its own issuer.
  package var isSelfIssued: Bool {
    unsafe X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)) == 0
  }
  /// Whether it may issue others.
  package var isCA: Bool { unsafe X509_check_ca(x509) > 0 }

  /// SHA-256 of the whole, 64 digits of base 16 in small letters.
  package var fingerprint: String {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    _ = unsafe X509_digest(x509, EVP_sha256(), &digest, &count)
    let digits = Array("0123456789abcdef")
    return String(digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  /// Who its owner is.
  package var identity: PeerIdentity { PeerIdentity(names: names, fingerprint: fingerprint) }

  /// The names and addresses it is good for, as an error lists them.
  var hostNames: [String] { names.dnsNames + names.ipAddresses }

  private static func time(_ time: UnsafePointer<ASN1_TIME>?) -> UnixTime {
    var days: Int32 = 0
    var seconds: Int32 = 0
    guard let epoch = unsafe ASN1_TIME_set(nil, 0) else { return UnixTime(microseconds: 0) }
    defer { unsafe ASN1_STRING_free(epoch) }
    guard unsafe ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else {
      return UnixTime(microseconds: 0)
    }
    return UnixTime(microseconds: (Int64(days) * 86_400 + Int64(seconds)) * 1_000_000)
  }

  private static func text(_ name: OpaquePointer?) -> String {
    unsafe PEMText.written { bio in
      unsafe X509_NAME_print_ex(bio, name, 0, keelson_name_flags()) >= 0 ? 1 : 0
    }
  }
}

/// Has a body read from memory.
func withMemoryBIO<Result>(_ bytes: [UInt8], _ body: (OpaquePointer) -> Result) -> Result? {
  unsafe bytes.withUnsafeBufferPointer { buffer -> Result? in
    guard let bio = unsafe BIO_new_mem_buf(buffer.baseAddress, Int32(buffer.count)) else {
      return nil
    }
    defer { unsafe BIO_free(bio) }
    return unsafe body(bio)
  }
}

/// Text that OpenSSL writes.
enum PEMText {
  /// What `write`, which gives 1 for success, has written; empty when memory is short.
  static func written(_ write: (OpaquePointer) -> Int32) -> String {
    guard let bio = unsafe BIO_new(BIO_s_mem()) else { return "" }
    defer { unsafe BIO_free(bio) }
    guard unsafe write(bio) == 1 else { return "" }
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe BIO_read(bio, &chunk, Int32(chunk.count))
      guard count > 0 else { break }
      text += chunk[..<Int(count)]
    }
    return String(decoding: text, as: UTF8.self)
  }
}
