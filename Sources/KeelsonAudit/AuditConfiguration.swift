package import KeelsonCrypto

/// Where the audit service keeps what lies outside of the database.
package struct AuditConfiguration: Sendable {
  /// The PEM file with the key that signs checkpoints and archives; made when it is missing.
  package var signingKeyFile: String
  /// A PEM file with the public keys of other servers, and of earlier signing keys, whose archives
  /// and checkpoints count here too; nil: this server's own key alone counts.
  package var trustedKeysFile: String?
  /// The folder of the archives; made when the first one is.
  package var archiveFolder: String
  /// What the keys of subjects are wrapped with; nil: entries with a subject are refused.
  package var keyEncryptionKeys: (any KeyEncryptionKeys)?
  package var limits = AuditLimits()

  /// - Parameter dataFolder: where the files go that are not named.
  package init(dataFolder: String, keyEncryptionKeys: (any KeyEncryptionKeys)? = nil) {
    signingKeyFile = "\(dataFolder)/audit-signing-key.pem"
    archiveFolder = "\(dataFolder)/audit-archives"
    self.keyEncryptionKeys = keyEncryptionKeys
  }

  /// Whether the signing key can be used, where there is one already; none is made.
  ///
  /// - Throws: an error whose description says what to do.
  package func checkSigningKey() throws {
    guard try AuditFileInput(signingKeyFile) != nil else { return }
    _ = try SigningKeyFile.load(signingKeyFile)
  }

  /// Whether the file of trusted keys can be used, where one is named.
  ///
  /// - Throws: an error whose description says what to do.
  package func checkTrustedKeys() throws {
    _ = try TrustedKeysFile.load(trustedKeysFile)
  }
}
