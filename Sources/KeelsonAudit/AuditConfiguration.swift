package import KeelsonCrypto

/// Where the audit service keeps what lies outside of the database.
package struct AuditConfiguration: Sendable {
  /// The PEM file with the key that signs checkpoints and archives; made when it is missing.
  package var signingKeyFile: String
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
}
