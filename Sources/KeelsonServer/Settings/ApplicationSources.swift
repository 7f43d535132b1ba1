import KeelsonConfiguration
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets
import Synchronization

/// The layers of applications' configuration that lie below the API: files, secret stores,
/// environment variables of this process. Source: SYS-127, SYS-129.
final class ApplicationSources: ConfigurationSources {
  /// What an application has in an environment.
  private struct Room: Sendable {
    let files: SettingsFiles?
    let environment: String
    let stores: [SecretStores.Store]
    /// nil: none, or not this server's environment.
    let variablePrefix: String?
    /// Of Keelson's own stores; nil: none, or not this server's environment.
    let secretSection: String?

    /// The files and folders as they are now.
    var signature: [FolderSignature?] {
      var signatures: [FolderSignature?] = stores.map { $0.folder?.signature }
      if let files {
        signatures.append(
          FolderSignature(files: [files.base, files.file(ofEnvironment: environment)]))
      }
      return signatures
    }
  }

  private struct Looks {
    var settled: SettledSignature
    /// The application's section of Keelson's own stores.
    var section: [[String: String]]
    var due: [ContinuousClock.Instant?]
  }

  let scopes: [ConfigurationScope]
  private let rooms: [ConfigurationScope: Room]
  private let variables: [String: String]
  private let own: SecretStores
  private let now: @Sendable () -> ContinuousClock.Instant
  private let looks: Mutex<[ConfigurationScope: Looks]>
  /// Who is told of changes.
  private let listener = Mutex<AsyncStream<ConfigurationScope>.Continuation?>(nil)

  /// - Parameters:
  ///   - environment: this server's: its variables are those of that environment.
  ///   - variables: the environment of this process.
  ///   - stores: Keelson's own, whose access to Vault and Azure applications' secrets are read with.
  init(
    _ applications: [ApplicationSettings], environment: String, variables: [String: String],
    stores: SecretStores, logger: Logger,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    var rooms: [ConfigurationScope: Room] = [:]
    for application in applications {
      for name in application.environments(own: environment) {
        let scope = ConfigurationScope(application: application.name, environment: name)
        rooms[scope] = Room(
          files: application.folder.map {
            SettingsFiles(path: ApplicationSettings.place($0, in: name) + "/")
          },
          environment: name, stores: stores.stores(of: application, in: name, logger: logger),
          variablePrefix: name == environment ? application.variablePrefix : nil,
          secretSection: name == environment ? application.secretSection : nil)
      }
    }
    self.rooms = rooms
    scopes = rooms.keys.sorted { $0.description < $1.description }
    self.variables = variables
    own = stores
    self.now = now
    let moment = now()
    looks = Mutex(
      rooms.mapValues { room in
        Looks(
          settled: SettledSignature(room.signature),
          section: Self.section(room.secretSection, of: stores),
          due: room.stores.map { $0.interval.map { moment.advanced(by: $0) } })
      })
  }

  /// One component for each store of an application: `secrets-shop-production-vault`.
  var healthChecks: [any HealthCheck] {
    scopes.flatMap { scope in
      (rooms[scope]?.stores ?? []).map { store in
        SecretStoreHealthCheck(
          store.source, name: "secrets-\(scope.application)-\(scope.environment)-\(store.kind)")
      }
    }
  }

  func load(_ scope: ConfigurationScope) async throws -> [LayerSource] {
    guard let room = rooms[scope] else { return [] }
    var layers: [LayerSource] = []
    if let files = room.files {
      layers += try document(.file, files.base)
      layers += try document(.environmentFile, files.file(ofEnvironment: room.environment))
      guard !layers.isEmpty || files.isThere else {
        throw LayerError(
          "the folder that \(SettingName.Application.section):\(scope.application):"
            + "\(SettingName.Application.folder) names is not there, or may not be read.")
      }
    }
    for (store, secrets) in zip(own.stores, Self.section(room.secretSection, of: own))
    where !secrets.isEmpty {
      layers.append(.secrets(secrets, source: store.kind))
    }
    for store in room.stores {
      if case .failed(let error) = try await store.source.reload(), !store.source.isLoaded,
        !store.source.isOptional
      {
        throw error
      }
      layers.append(
        .secrets(store.source.values.mapValues(\.text), source: store.kind))
    }
    if let prefix = room.variablePrefix {
      let ours = variables.filter { $0.key.lowercased().hasPrefix(prefix.lowercased()) }
      layers.append(.variables(ours, prefix: prefix))
    }
    return layers
  }

  private func document(
    _ layer: ConfigurationLayer, _ file: String
  ) throws(LayerError) -> [LayerSource] {
    // Peers may read what is said of it: the file without its folder.
    let name = file.split(separator: "/").last.map(String.init) ?? file
    do throws(SettingsProblem) {
      guard let document = try SettingsFiles.document(file) else { return [] }
      return [.document(layer, document, source: name)]
    } catch {
      throw LayerError("\(name): \(error.message).")
    }
  }

  /// What each of Keelson's own stores has in a section.
  private static func section(_ section: String?, of stores: SecretStores) -> [[String: String]] {
    guard let section else { return [] }
    let prefix = section.lowercased() + ":"
    return stores.stores.map { store in
      store.source.values.reduce(into: [:]) { found, secret in
        if secret.key.lowercased().hasPrefix(prefix) {
          found[String(secret.key.dropFirst(prefix.count))] = secret.value.text
        }
      }
    }
  }

  func changes() -> AsyncStream<ConfigurationScope> {
    AsyncStream { continuation in
      let task = Task {
        while !Task.isCancelled {
          try? await Task.sleep(for: SettingsWatch.lookInterval)
          for scope in self.changed() { continuation.yield(scope) }
        }
        continuation.finish()
      }
      continuation.onTermination = { _ in task.cancel() }
      self.listener.withLock { $0 = continuation }
    }
  }

  /// Has the layers of all scopes read now, whether or not something seems to have changed.
  func readAtOnce() {
    for scope in scopes {
      guard let room = rooms[scope] else { continue }
      let signature = room.signature
      let section = Self.section(room.secretSection, of: own)
      looks.withLock { looks in
        _ = looks[scope]?.settled.hasChanged(to: signature, isAtOnce: true)
        looks[scope]?.section = section
      }
      _ = listener.withLock { $0?.yield(scope) }
    }
  }

  /// Looks once: the scopes whose files have changed, and those whose stores are to be read again.
  func changed() -> [ConfigurationScope] {
    let moment = now()
    return scopes.filter { scope in
      guard let room = rooms[scope] else { return false }
      let signature = room.signature
      let section = Self.section(room.secretSection, of: own)
      return looks.withLock { looks in
        var hasChanged = looks[scope]?.settled.hasChanged(to: signature) ?? false
        if looks[scope]?.section != section {
          looks[scope]?.section = section
          hasChanged = true
        }
        for (index, store) in room.stores.enumerated() {
          guard let due = looks[scope]?.due[index], due <= moment else { continue }
          looks[scope]?.due[index] = store.interval.map { moment.advanced(by: $0) }
          hasChanged = true
        }
        return hasChanged
      }
    }
  }
}
