import KeelsonCrypto

/// The public keys that count beside this server's own. They lie in a file and not in the database,
/// since who may write there could add one.
enum TrustedKeysFile {
  /// Room for several hundred keys.
  private static let maximumBytes = 64 << 10
  private static let blockEnd = "-----END PUBLIC KEY-----"

  /// Reads the keys, one PEM block each; none without a path.
  ///
  /// - Throws: ``AuditFolderError`` that says what to do.
  static func load(_ path: String?) throws -> [VerifyingKey] {
    guard let path else { return [] }
    func unusable(_ reason: String) -> AuditFolderError {
      AuditFolderError(
        "The file of trusted audit keys \(path) cannot be used: \(reason) It has what "
          + "'keelson audit keys --pem' writes on each server, one after the other.")
    }
    guard let input = try AuditFileInput(path) else { throw unusable("There is no such file.") }
    var bytes: [UInt8] = []
    while bytes.count <= maximumBytes {
      let piece = try input.read(maximumBytes + 1 - bytes.count)
      guard !piece.isEmpty else { break }
      bytes += piece
    }
    guard bytes.count <= maximumBytes else {
      throw unusable("It has more than \(maximumBytes) bytes.")
    }
    var blocks = String(decoding: bytes, as: UTF8.self).split(
      separator: blockEnd, omittingEmptySubsequences: false)
    let rest = blocks.removeLast()
    guard !blocks.isEmpty, rest.allSatisfy(\.isWhitespace) else {
      throw unusable("It does not end with a public key in PEM form.")
    }
    return try blocks.enumerated().map { index, block in
      do throws(CryptoError) {
        return try VerifyingKey(pem: block + blockEnd + "\n")
      } catch {
        throw unusable("Key \(index + 1) in it: \(error.message)")
      }
    }
  }
}
