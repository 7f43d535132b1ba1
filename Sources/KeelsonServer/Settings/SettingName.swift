/// The keys of Keelson's own settings, where code asks for one.
package enum SettingName {
  package static let environment = "Environment"
  package static let listen = "Listen"
  package static let probeListen = "ProbeListen"
  package static let data = "Data"
  package static let database = "Database"
  package static let databaseOwner = "DatabaseOwner"
  package static let cache = "Cache"
  package static let cacheWarmOrigins = "CacheWarmOrigins"
  package static let cacheWarmCAFile = "CacheWarmCaFile"
  package static let eventSource = "EventSource"
  package static let auditSigningKeyFile = "Audit:SigningKeyFile"
  package static let auditTrustedKeysFile = "Audit:TrustedKeysFile"
  package static let auditArchiveFolder = "Audit:ArchiveFolder"
  package static let insecureRemotePlaintext = "InsecureRemotePlaintext"
  package static let reflection = "Reflection"
  package static let loops = "Loops"
  package static let drainTimeout = "DrainTimeout"
  package static let logLevel = "Logging:Level"

  package enum TLS {
    package static let certificateFile = "Tls:CertificateFile"
    package static let keyFile = "Tls:KeyFile"
    package static let clientCAFile = "Tls:ClientCaFile"
    package static let clientAuthentication = "Tls:ClientAuthentication"
  }

  enum Files {
    static let folder = "Secrets:Files:Folder"
    static let isOptional = "Secrets:Files:Optional"
  }

  enum Vault {
    static let address = "Secrets:Vault:Address"
    static let token = "Secrets:Vault:Token"
    static let tokenFile = "Secrets:Vault:TokenFile"
    static let role = "Secrets:Vault:KubernetesRole"
    static let serviceAccountFile = "Secrets:Vault:KubernetesTokenFile"
    static let authenticationMount = "Secrets:Vault:KubernetesMount"
    static let namespace = "Secrets:Vault:Namespace"
    static let mount = "Secrets:Vault:Mount"
    static let path = "Secrets:Vault:Path"
    static let version = "Secrets:Vault:Version"
    static let caFile = "Secrets:Vault:CaFile"
    static let proxy = "Secrets:Vault:Proxy"
    static let timeout = "Secrets:Vault:Timeout"
    static let reloadInterval = "Secrets:Vault:ReloadInterval"
    static let isOptional = "Secrets:Vault:Optional"
    static let insecurePlaintext = "Secrets:Vault:InsecurePlaintext"
  }

  enum Azure {
    static let vault = "Secrets:Azure:Vault"
    static let tenant = "Secrets:Azure:Tenant"
    static let client = "Secrets:Azure:Client"
    static let clientSecret = "Secrets:Azure:ClientSecret"
    static let clientSecretFile = "Secrets:Azure:ClientSecretFile"
    static let authority = "Secrets:Azure:Authority"
    static let scope = "Secrets:Azure:Scope"
    static let caFile = "Secrets:Azure:CaFile"
    static let proxy = "Secrets:Azure:Proxy"
    static let timeout = "Secrets:Azure:Timeout"
    static let reloadInterval = "Secrets:Azure:ReloadInterval"
    static let isOptional = "Secrets:Azure:Optional"
    static let insecurePlaintext = "Secrets:Azure:InsecurePlaintext"
  }

  /// Below `Applications:<application>`.
  enum Application {
    static let section = "Applications"
    static let folder = "Folder"
    static let environments = "Environments"
    static let variablePrefix = "VariablePrefix"
    static let secretSection = "SecretSection"
    static let secretFolder = "SecretFolder"
    static let vaultPath = "VaultPath"
    static let azureVault = "AzureVault"
  }

  enum Encryption {
    static let keyPath = "Encryption:KeyPath"
    static let keys = "Encryption:Keys"
    static let currentKey = "Encryption:CurrentKey"
    static let transitKey = "Encryption:VaultKey"
    static let transitMount = "Encryption:VaultMount"
  }

  /// The key of a limit.
  package static func limit(_ name: String) -> String { "Limits:\(name)" }
}
