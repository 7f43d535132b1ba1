import COpenSSL

/// The private key of a certificate.
///
/// `@unchecked Sendable`: immutable; OpenSSL's own reference counts are atomic.
@safe package final class PrivateKey: @unchecked Sendable {
  let key: OpaquePointer

  /// Takes over a reference.
  init(owning key: OpaquePointer) {
    unsafe self.key = unsafe key
  }

  deinit {
    unsafe EVP_PKEY_free(key)
  }

  /// Reads the first private key of a PEM text.
  ///
  /// - Parameter name: what the text is called in an error.
  /// - Throws: ``TLSError`` with code `malformed`, also for a key behind a passphrase.
  package convenience init(pem text: [UInt8], name: String) throws(TLSError) {
    ERR_clear_error()
    let key: OpaquePointer?? = unsafe withMemoryBIO(text) { bio in
      // Without a callback OpenSSL would ask for a passphrase at the terminal.
      unsafe PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil)
    }
    guard let key = unsafe key ?? nil else {
      let failure = OpenSSLFailure.take()
      // OpenSSL's decoders say "unsupported" for all of this.
      let words = String(decoding: text, as: UTF8.self)
      if words.contains("ENCRYPTED") {
        throw TLSError(
          .malformed,
          "\(name) is encrypted with a passphrase: store the key without one, readable by its "
            + "owner only.", cause: failure.text)
      }
      guard words.contains("PRIVATE KEY-----") else {
        throw TLSError(
          .malformed, "\(name) holds no private key: it has no line -----BEGIN PRIVATE KEY-----.",
          cause: failure.text)
      }
      throw TLSError(
        .malformed, "\(name) holds no usable private key: it cannot be decoded.",
        cause: failure.text)
    }
    unsafe self.init(owning: key)
  }

  /// A new key: ECDSA on P-256.
  package static func make() throws(TLSError) -> PrivateKey {
    guard let key = unsafe keelson_make_p256_key() else {
      throw OpenSSLFailure.error("Making a private key")
    }
    return unsafe PrivateKey(owning: key)
  }

  /// The key as an unencrypted PEM block (PKCS #8).
  package var pem: String {
    unsafe PEMText.written { bio in unsafe PEM_write_bio_PrivateKey(bio, key, nil, nil, 0, nil, nil)
    }
  }

  /// Whether it is the key of the certificate.
  package func belongs(to certificate: Certificate) -> Bool {
    defer { ERR_clear_error() }
    return unsafe X509_check_private_key(certificate.x509, key) == 1
  }
}
