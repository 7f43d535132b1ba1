import COpenSSL

/// SHA-256. Source: FIPS 180-4.
package enum SHA256 {
  /// The length of a digest.
  package static let digestBytes = 32

  /// Looked up once: each lookup by name costs more than hashing a short text.
  ///
  /// `nonisolated(unsafe)`: set once, and OpenSSL never changes an algorithm it has handed out.
  nonisolated(unsafe) static let algorithm = unsafe EVP_MD_fetch(nil, "SHA256", nil)

  /// The digest of some bytes, ``digestBytes`` long.
  package static func hash(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: digestBytes)
    let status = unsafe EVP_Digest(bytes, bytes.count, &digest, nil, algorithm, nil)
    precondition(status == 1, "OpenSSL has no SHA-256: its installation is broken.")
    return digest
  }
}

/// SHA-256 of what comes piece by piece. For one task at a time.
@safe package final class SHA256Stream {
  private let context: OpaquePointer

  package init() {
    guard let context = unsafe EVP_MD_CTX_new(),
      unsafe EVP_DigestInit_ex2(context, SHA256.algorithm, nil) == 1
    else { preconditionFailure("OpenSSL has no SHA-256: its installation is broken.") }
    unsafe self.context = unsafe context
  }

  deinit {
    unsafe EVP_MD_CTX_free(context)
  }

  package func update(_ bytes: [UInt8]) {
    unsafe EVP_DigestUpdate(context, bytes, bytes.count)
  }

  /// The digest of everything so far. Nothing may be added afterwards.
  package func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: SHA256.digestBytes)
    unsafe EVP_DigestFinal_ex(context, &digest, nil)
    return digest
  }
}

/// HMAC with SHA-256. Source: RFC 2104.
package enum HMACSHA256 {
  /// The code of some bytes under a key, 32 bytes long.
  package static func code(_ bytes: [UInt8], key: [UInt8]) -> [UInt8] {
    var code = [UInt8](repeating: 0, count: SHA256.digestBytes)
    var count: UInt32 = 0
    let result = unsafe HMAC(
      SHA256.algorithm, key, Int32(key.count), bytes, bytes.count, &code, &count)
    precondition(unsafe result != nil, "OpenSSL has no HMAC: its installation is broken.")
    return code
  }
}
