package import KeelsonCore
package import KeelsonCrypto

/// A key of 32 bytes as people keep one: raw, as 64 hexadecimal digits, or as base64.
package enum KeyText {
  /// - Parameter name: what the key is called in sentences: `The key file /keys/a.key`.
  /// - Throws: ``CryptoError`` with code `malformed`.
  package static func key(_ given: SecretValue, name: String) throws(CryptoError) -> [UInt8] {
    let bytes = given.bytes
    // 32 characters that somebody typed are no key, though they are as long as one.
    if bytes.count == AES256GCM.keyBytes, !bytes.allSatisfy({ (0x20..<0x7F).contains($0) }) {
      return bytes
    }
    if let text = given.validText?.trimmed {
      if text.utf8.count == 2 * AES256GCM.keyBytes, let key = Hexadecimal.bytes(text) {
        return key
      }
      if let key = Base64.decode(Array(text.utf8).span), key.count == AES256GCM.keyBytes {
        return key
      }
    }
    throw CryptoError(
      .malformed,
      "\(name) has \(bytes.count) bytes, and is no key: a key is 32 random bytes, written as they "
        + "are, as 64 hexadecimal digits or as base64 ('openssl rand -base64 32' makes one).")
  }
}
