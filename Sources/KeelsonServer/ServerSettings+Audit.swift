import KeelsonAudit

extension ServerSettings {
  /// Where the audit service keeps its files, and its limits.
  var auditConfiguration: AuditConfiguration {
    var configuration = AuditConfiguration(dataFolder: dataFolder)
    configuration.limits = limits.audit
    if let file = auditSigningKeyFile { configuration.signingKeyFile = file }
    configuration.trustedKeysFile = auditTrustedKeysFile
    if let folder = auditArchiveFolder { configuration.archiveFolder = folder }
    return configuration
  }
}
