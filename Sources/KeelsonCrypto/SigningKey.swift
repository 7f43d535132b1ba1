import COpenSSL

/// A private key for signatures with Ed25519. Source: RFC 8032.
///
/// `@unchecked Sendable`: immutable; OpenSSL's own reference counts are atomic.
@safe package final class SigningKey: @unchecked Sendable {
  private let key: OpaquePointer

  private init(owning key: OpaquePointer) {
    unsafe self.key = unsafe key
  }

  deinit {
    unsafe EVP_PKEY_free(key)
  }

  /// A new key.
  package static func make() throws(CryptoError) -> SigningKey {
    guard let key = unsafe keelson_make_ed25519_key() else {
      throw CryptoError.system("Making a signing key")
    }
    return unsafe SigningKey(owning: key)
  }

  /// Reads a PEM text (PKCS #8, not encrypted).
  ///
  /// - Throws: ``CryptoError`` with code malformed when it holds no Ed25519 key.
  package convenience init(pem: String) throws(CryptoError) {
    ERR_clear_error()
    let bytes = Array(pem.utf8)
    let bio = unsafe BIO_new_mem_buf(bytes, Int32(bytes.count))
    defer { unsafe BIO_free(bio) }
    // Without a callback OpenSSL would ask for a passphrase at the terminal.
    let key = unsafe PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil)
    guard let key = unsafe key, unsafe EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 else {
      unsafe EVP_PKEY_free(key)
      ERR_clear_error()
      throw CryptoError(
        .malformed,
        "This is no Ed25519 private key in PEM form; 'openssl genpkey -algorithm ed25519' makes "
          + "one.")
    }
    unsafe self.init(owning: key)
  }

  /// The key as a PEM text (PKCS #8, not encrypted).
  package var pem: String {
    unsafe PEM.written { bio in unsafe PEM_write_bio_PrivateKey(bio, key, nil, nil, 0, nil, nil) }
  }

  /// What signatures are checked with.
  package var verifyingKey: VerifyingKey {
    var bytes = [UInt8](repeating: 0, count: VerifyingKey.keyBytes)
    var count = bytes.count
    let status = unsafe EVP_PKEY_get_raw_public_key(key, &bytes, &count)
    precondition(status == 1, "An Ed25519 private key has its public key with it.")
    return VerifyingKey(known: bytes)
  }

  /// The signature of a message, 64 bytes.
  package func signature(of message: [UInt8]) throws(CryptoError) -> [UInt8] {
    let context = unsafe EVP_MD_CTX_new()
    defer { unsafe EVP_MD_CTX_free(context) }
    var signature = [UInt8](repeating: 0, count: VerifyingKey.signatureBytes)
    var count = signature.count
    guard unsafe EVP_DigestSignInit(context, nil, nil, nil, key) == 1,
      unsafe EVP_DigestSign(context, &signature, &count, message, message.count) == 1
    else { throw CryptoError.system("Signing") }
    return signature
  }
}

/// A public key that checks signatures with Ed25519.
package struct VerifyingKey: Sendable, Hashable {
  package static let keyBytes = 32
  package static let signatureBytes = 64

  /// The key itself (RFC 8032, 5.1.5).
  package let bytes: [UInt8]

  fileprivate init(known bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// - Throws: ``CryptoError`` with code malformed when there are not ``keyBytes`` of them.
  package init(bytes: [UInt8]) throws(CryptoError) {
    guard bytes.count == Self.keyBytes else {
      throw CryptoError(
        .malformed, "An Ed25519 public key has \(Self.keyBytes) bytes, not \(bytes.count).")
    }
    self.bytes = bytes
  }

  /// Reads a PEM text (SubjectPublicKeyInfo).
  ///
  /// - Throws: ``CryptoError`` with code malformed when it holds no Ed25519 key.
  package init(pem: String) throws(CryptoError) {
    ERR_clear_error()
    let text = Array(pem.utf8)
    let bio = unsafe BIO_new_mem_buf(text, Int32(text.count))
    defer { unsafe BIO_free(bio) }
    let key = unsafe PEM_read_bio_PUBKEY(bio, nil, nil, nil)
    defer { unsafe EVP_PKEY_free(key) }
    var bytes = [UInt8](repeating: 0, count: Self.keyBytes)
    var count = bytes.count
    guard unsafe key != nil, unsafe EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519,
      unsafe EVP_PKEY_get_raw_public_key(key, &bytes, &count) == 1, count == Self.keyBytes
    else {
      ERR_clear_error()
      throw CryptoError(.malformed, "This is no Ed25519 public key in PEM form.")
    }
    self.bytes = bytes
  }

  /// The key as a PEM text (SubjectPublicKeyInfo), which other tools read.
  package var pem: String {
    let key = unsafe EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, bytes, bytes.count)
    defer { unsafe EVP_PKEY_free(key) }
    return unsafe PEM.written { bio in unsafe PEM_write_bio_PUBKEY(bio, key) }
  }

  /// Names the key: the first 16 hexadecimal digits of its SHA-256.
  package var id: String { Hexadecimal.text(SHA256.hash(bytes).prefix(8)) }

  /// Whether the signature of the message was made with the private key.
  package func isValid(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    guard signature.count == Self.signatureBytes,
      let key = unsafe EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, bytes, bytes.count)
    else { return false }
    defer { unsafe EVP_PKEY_free(key) }
    let context = unsafe EVP_MD_CTX_new()
    defer { unsafe EVP_MD_CTX_free(context) }
    defer { ERR_clear_error() }
    return unsafe EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
      && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }
}

private enum PEM {
  static func written(_ write: (OpaquePointer?) -> Int32) -> String {
    let bio = unsafe BIO_new(BIO_s_mem())
    defer { unsafe BIO_free(bio) }
    let status = unsafe write(bio)
    precondition(status == 1, "OpenSSL could not write a key to memory.")
    var text: UnsafeMutablePointer<CChar>?
    let count = unsafe BIO_ctrl(bio, BIO_CTRL_INFO, 0, &text)
    return unsafe String(
      decoding: UnsafeRawBufferPointer(start: text, count: count), as: UTF8.self)
  }
}
