import COpenSSL

/// Authenticated encryption: AES with a 256-bit key in Galois/Counter Mode. Source: NIST SP
/// 800-38D.
///
/// A sealed value is nonce (12 bytes), ciphertext (as long as the plaintext), tag (16 bytes). The
/// nonce is random, so one key may seal 2^32 values (SP 800-38D, 8.3).
package enum AES256GCM {
  package static let keyBytes = 32
  package static let nonceBytes = 12
  package static let tagBytes = 16
  /// By how much a sealed value is longer than its plaintext.
  package static let overheadBytes = nonceBytes + tagBytes

  /// See ``SHA256/algorithm``.
  ///
  /// `nonisolated(unsafe)`: set once, and OpenSSL never changes an algorithm it has handed out.
  nonisolated(unsafe) private static let algorithm = unsafe EVP_CIPHER_fetch(
    nil, "AES-256-GCM", nil)

  /// A new key.
  package static func makeKey() throws(CryptoError) -> [UInt8] {
    try SecureRandom.bytes(keyBytes)
  }

  /// Encrypts.
  ///
  /// - Parameter binding: what the value belongs to; it is not stored, and has to be given again to
  ///   open the value.
  /// - Throws: ``CryptoError`` with code malformed for a key of another length, system.
  package static func seal(
    _ plaintext: [UInt8], key: [UInt8], binding: [UInt8]
  ) throws(CryptoError) -> [UInt8] {
    try check(key)
    let context = try Context()
    let nonce = try SecureRandom.bytes(nonceBytes)
    var sealed = nonce + plaintext
    sealed.append(contentsOf: repeatElement(0, count: tagBytes))
    let isSealed = unsafe sealed.withUnsafeMutableBytes { sealed in
      let body = unsafe sealed.baseAddress?.advanced(by: nonceBytes)
        .assumingMemoryBound(to: UInt8.self)
      let tag = unsafe sealed.baseAddress?.advanced(by: nonceBytes + plaintext.count)
      var count: Int32 = 0
      return unsafe EVP_EncryptInit_ex2(context.pointer, algorithm, key, nonce, nil) == 1
        && EVP_EncryptUpdate(context.pointer, nil, &count, binding, Int32(binding.count)) == 1
        && EVP_EncryptUpdate(context.pointer, body, &count, plaintext, Int32(plaintext.count)) == 1
        && EVP_EncryptFinal_ex(context.pointer, body?.advanced(by: plaintext.count), &count) == 1
        && EVP_CIPHER_CTX_ctrl(
          context.pointer, EVP_CTRL_AEAD_GET_TAG, Int32(tagBytes), tag) == 1
    }
    guard isSealed else { throw CryptoError.system("Encrypting") }
    return sealed
  }

  /// Decrypts.
  ///
  /// - Throws: ``CryptoError`` with code malformed when the value is too short or the key has
  ///   another length, unauthentic when either is not what it was sealed with.
  package static func open(
    _ sealed: [UInt8], key: [UInt8], binding: [UInt8]
  ) throws(CryptoError) -> [UInt8] {
    try check(key)
    guard sealed.count >= overheadBytes else {
      throw CryptoError(.malformed, "A sealed value has \(overheadBytes) bytes at least.")
    }
    let context = try Context()
    let ciphertext = Array(sealed[nonceBytes..<sealed.count - tagBytes])
    var tag = Array(sealed.suffix(tagBytes))
    var plaintext = [UInt8](repeating: 0, count: ciphertext.count)
    var count: Int32 = 0
    let isOpen =
      unsafe EVP_DecryptInit_ex2(
        context.pointer, algorithm, key, Array(sealed[..<nonceBytes]), nil) == 1
      && EVP_DecryptUpdate(context.pointer, nil, &count, binding, Int32(binding.count)) == 1
      && EVP_DecryptUpdate(
        context.pointer, &plaintext, &count, ciphertext, Int32(ciphertext.count)) == 1
      && EVP_CIPHER_CTX_ctrl(context.pointer, EVP_CTRL_AEAD_SET_TAG, Int32(tagBytes), &tag) == 1
    var rest = [UInt8](repeating: 0, count: tagBytes)
    guard isOpen, unsafe EVP_DecryptFinal_ex(context.pointer, &rest, &count) == 1 else {
      ERR_clear_error()
      throw CryptoError(
        .unauthentic,
        "A sealed value cannot be opened: it was changed, belongs elsewhere, or was sealed with "
          + "another key.")
    }
    return plaintext
  }

  private static func check(_ key: [UInt8]) throws(CryptoError) {
    guard key.count == keyBytes else {
      throw CryptoError(.malformed, "A key has \(keyBytes) bytes, not \(key.count).")
    }
  }

  /// Owns OpenSSL's state of one operation.
  @safe private final class Context {
    let pointer: OpaquePointer

    init() throws(CryptoError) {
      guard let pointer = unsafe EVP_CIPHER_CTX_new() else {
        throw CryptoError.system("Encrypting")
      }
      unsafe self.pointer = unsafe pointer
    }

    deinit {
      unsafe EVP_CIPHER_CTX_free(pointer)
    }
  }
}
