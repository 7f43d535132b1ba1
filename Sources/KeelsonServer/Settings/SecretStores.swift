import KeelsonConfigurationRules
import KeelsonCore
import KeelsonHTTP
import KeelsonSecrets

/// The secret stores that Keelson's own settings name, in the order in which a later one hides an
/// earlier: files, Vault, Azure Key Vault.
package struct SecretStores: Sendable {
  /// One store, and how it is looked at.
  struct Store: Sendable {
    /// `files`, `vault`, `azure`.
    let kind: String
    let source: SecretSource
    /// How often it is read again; nil: when its folder changes.
    let interval: Duration?
    let folder: FileSecretStore?
  }

  private(set) var stores: [Store] = []
  /// The client of Vault, whether settings are in it or only keys.
  private(set) var vault: VaultClient?
  private var vaultMount = "secret"
  private var vaultInterval: Duration?
  private var azure: AzureConfiguration?
  private var azureInterval: Duration?

  init() {}

  /// Makes them from the settings of the layers below them.
  init(_ reader: inout SettingsReader, logger: Logger) {
    if let folder = reader.text(SettingName.Files.folder) {
      let store = FileSecretStore(folder: folder)
      add(store, "files", reader.flag(SettingName.Files.isOptional), logger, folder: store)
    }
    addVault(&reader, logger)
    addAzure(&reader, logger)
  }

  private mutating func add(
    _ store: any SecretStore, _ kind: String, _ isOptional: Bool, _ logger: Logger,
    interval: Duration? = nil, folder: FileSecretStore? = nil
  ) {
    stores.append(
      Store(
        kind: kind, source: SecretSource(store, isOptional: isOptional, logger: logger),
        interval: interval, folder: folder))
  }

  private mutating func addVault(_ reader: inout SettingsReader, _ logger: Logger) {
    typealias Name = SettingName.Vault
    for key in [Name.token, Name.tokenFile, Name.role, Name.path] {
      reader.require(Name.address, for: key)
    }
    guard let address = reader.text(Name.address) else { return }
    let token = reader.text(Name.token)
    let file = reader.text(Name.tokenFile)
    let role = reader.text(Name.role)
    guard [token, file, role].count(where: { $0 != nil }) == 1 else {
      reader.note(
        Name.address, "required",
        "needs one of \(Name.tokenFile), \(Name.token) and \(Name.role), to say who we are")
      return
    }
    let authentication: VaultConfiguration.Authentication =
      if let token {
        .token(SecretValue(token))
      } else if let file {
        .tokenFile(file)
      } else {
        .kubernetes(
          role: role ?? "",
          tokenFile: reader.text(Name.serviceAccountFile)
            ?? VaultConfiguration.kubernetesTokenFile,
          mount: reader.text(Name.authenticationMount) ?? "kubernetes")
      }
    do throws(SecretStoreError) {
      var configuration = try VaultConfiguration(
        address: address, authentication: authentication,
        allowsPlaintext: reader.flag(Name.insecurePlaintext))
      configuration.namespace = reader.text(Name.namespace)
      configuration.http.caFile = reader.text(Name.caFile)
      configuration.http.proxy = reader.text(Name.proxy)
      configuration.http.timeout = reader.duration(Name.timeout) ?? configuration.http.timeout
      let client = VaultClient(configuration)
      vault = client
      vaultMount = reader.text(Name.mount) ?? vaultMount
      vaultInterval = reader.duration(Name.reloadInterval)
      guard let path = reader.text(Name.path) else { return }
      add(
        VaultSecretStore(
          client, mount: vaultMount, path: path,
          version: reader.integer(Name.version)),
        "vault", reader.flag(Name.isOptional), logger,
        interval: vaultInterval)
    } catch {
      reader.note(Name.address, "address", error.message)
    }
  }

  private mutating func addAzure(_ reader: inout SettingsReader, _ logger: Logger) {
    typealias Name = SettingName.Azure
    for key in [Name.tenant, Name.client, Name.clientSecret, Name.clientSecretFile] {
      reader.require(Name.vault, for: key)
    }
    reader.require(Name.tenant, for: Name.vault)
    reader.require(Name.client, for: Name.vault)
    guard let vault = reader.text(Name.vault), let tenant = reader.text(Name.tenant),
      let client = reader.text(Name.client)
    else { return }
    let secret = reader.text(Name.clientSecret)
    let file = reader.text(Name.clientSecretFile)
    guard (secret == nil) != (file == nil) else {
      reader.note(
        Name.vault, "required", "needs one of \(Name.clientSecretFile) and \(Name.clientSecret)")
      return
    }
    do throws(SecretStoreError) {
      var configuration = try AzureConfiguration(
        vault: vault, tenant: tenant, client: client,
        secret: file.map { .file($0) } ?? .value(SecretValue(secret ?? "")),
        authority: reader.text(Name.authority) ?? "https://login.microsoftonline.com",
        allowsPlaintext: reader.flag(Name.insecurePlaintext))
      configuration.scope = reader.text(Name.scope) ?? configuration.scope
      configuration.http.caFile = reader.text(Name.caFile)
      configuration.http.proxy = reader.text(Name.proxy)
      configuration.http.timeout = reader.duration(Name.timeout) ?? configuration.http.timeout
      azure = configuration
      azureInterval = reader.duration(Name.reloadInterval)
      add(
        AzureSecretStore(configuration), "azure", reader.flag(Name.isOptional), logger,
        interval: reader.duration(Name.reloadInterval))
    } catch {
      reader.note(Name.vault, "address", error.message)
    }
  }

  /// One component for each store: `secrets-vault`.
  var healthChecks: [any HealthCheck] {
    stores.map { SecretStoreHealthCheck($0.source, name: "secrets-\($0.kind)") }
  }

  // MARK: Values

  /// Reads each for the first time, all at once.
  ///
  /// - Returns: one problem for each that cannot be read and is not optional.
  /// - Throws: `CancellationError`.
  func start() async throws -> [SettingsProblem] {
    try await withThrowingTaskGroup(of: SettingsProblem?.self) { group in
      for store in stores {
        group.addTask {
          do {
            try await store.source.start()
            return nil
          } catch let error as SecretStoreError {
            return SettingsProblem(
              key: "Secrets", source: store.kind, rule: error.code.description,
              message: error.message)
          }
        }
      }
      return try await group.reduce(into: []) { problems, problem in
        if let problem { problems.append(problem) }
      }
    }
  }

  /// What the stores hold of the settings that there are; other secrets in them are not ours.
  func layer(_ schema: ConfigurationSchema) -> LayerValues {
    var layer = LayerValues(.secretStore)
    let known = Dictionary(schema.keys.map { ($0.lowercased(), $0) }) { first, _ in first }
    for store in stores {
      for (key, value) in store.source.values {
        let key = known[key.lowercased()] ?? key
        guard schema.rule(for: key) != nil else { continue }
        layer.values[key] = LayerValue(
          .string(value.text), source: store.source.name, isSensitive: true)
      }
    }
    return layer
  }
}

extension SecretStores {
  /// The stores of an application in an environment.
  func stores(
    of application: ApplicationSettings, in environment: String, logger: Logger
  ) -> [Store] {
    var stores: [Store] = []
    func place(_ text: String) -> String { ApplicationSettings.place(text, in: environment) }
    func add(
      _ store: any SecretStore, _ kind: String, interval: Duration?,
      folder: FileSecretStore? = nil
    ) {
      stores.append(
        Store(
          kind: kind, source: SecretSource(store, isOptional: false, logger: logger),
          interval: interval, folder: folder))
    }
    if let folder = application.secretFolder {
      let store = FileSecretStore(folder: place(folder))
      add(store, "files", interval: nil, folder: store)
    }
    if let path = application.vaultPath, let vault {
      add(
        VaultSecretStore(vault, mount: vaultMount, path: place(path)), "vault",
        interval: vaultInterval)
    }
    if let address = application.azureVault, let azure {
      do throws(SecretStoreError) {
        add(
          AzureSecretStore(try azure.with(vault: place(address))), "azure",
          interval: azureInterval)
      } catch {
        logger.log(
          .error, "An application's secrets cannot be read: \(error.message)",
          ["application": application.name, "environment": environment])
      }
    }
    return stores
  }
}
