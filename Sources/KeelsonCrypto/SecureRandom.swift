import COpenSSL

/// Random bytes that nobody can guess.
package enum SecureRandom {
  /// - Throws: ``CryptoError`` with code system when the operating system gives no entropy.
  package static func bytes(_ count: Int) throws(CryptoError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    guard unsafe RAND_bytes(&bytes, Int32(count)) == 1 else {
      throw CryptoError.system("Making random bytes")
    }
    return bytes
  }
}
