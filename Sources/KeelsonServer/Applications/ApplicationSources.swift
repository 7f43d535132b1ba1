import KeelsonConfiguration
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets

/// The layers below the API that the server's own settings give applications: files of a folder,
/// a section of the secret stores, environment variables.
///
/// Files count in every environment that one is named after; secrets and variables are those of
/// the process, and so of the server's own environment.
struct ApplicationSources: ConfigurationSources {
  /// Where one application's layers are.
  struct Application: Sendable, Equatable {
    var name: String
    /// The folder of `appsettings.json` and `appsettings.<Environment>.json`.
    var folder: String?
    /// What the names of its environment variables begin with, two underscores included.
    var variablePrefix: String?
    /// The section of the secret stores that is its own.
    var secretSection: String?
  }

  /// How often files and secrets are looked at. A change is told once a file has stayed the same
  /// from one look to the next: not everybody writes in one go.
  static let lookInterval: Duration = .milliseconds(500)

  let applications: [Application]
  /// The server's own environment.
  let environment: String
  let variables: [String: String]
  let stores: SecretStores

  var scopes: [ConfigurationScope] { applications.flatMap(scopes) }

  private func scopes(of application: Application) -> [ConfigurationScope] {
    var environments: Set<String> = [environment]
    if let folder = application.folder {
      let named = SettingsFiles(path: folder + "/").environments
      environments.formUnion(named.filter { $0 != environment.lowercased() })
    }
    return environments.sorted().map {
      ConfigurationScope(application: application.name, environment: $0)
    }
  }

  func load(_ scope: ConfigurationScope) async throws -> [LayerSource] {
    guard let application = applications.first(where: { $0.name == scope.application }) else {
      return []
    }
    var sources: [LayerSource] = []
    if let folder = application.folder {
      guard FolderSignature(folder: folder) != nil else {
        throw RPCError(
          .failedPrecondition,
          "the folder that \(SettingName.applications):\(application.name):Folder names is not there, "
            + "or may not be read.")
      }
      let files = SettingsFiles(path: folder + "/")
      let places = [
        (ConfigurationLayer.file, files.base),
        (.environmentFile, files.file(ofEnvironment: scope.environment)),
      ]
      for (layer, file) in places {
        guard let document = try document(file) else { continue }
        let name = file.split(separator: "/").last.map(String.init) ?? file
        sources.append(.document(layer, document, source: name))
      }
    }
    guard scope.environment == environment else { return sources }
    if let section = application.secretSection {
      for store in stores.stores {
        let secrets = secrets(of: store.source, in: section)
        if !secrets.isEmpty { sources.append(.secrets(secrets, source: store.kind)) }
      }
    }
    if let prefix = application.variablePrefix {
      let own = variables.filter { $0.key.lowercased().hasPrefix(prefix.lowercased()) }
      if !own.isEmpty { sources.append(.variables(own, prefix: prefix)) }
    }
    return sources
  }

  private func document(_ file: String) throws -> JSONValue? {
    do throws(SettingsProblem) {
      return try SettingsFiles.document(file)
    } catch {
      // A peer may read it, so it names the file without its folder.
      let name = file.split(separator: "/").last.map(String.init) ?? file
      throw RPCError(.failedPrecondition, "\(name): \(error.message).")
    }
  }

  private func secrets(of source: SecretSource, in section: String) -> [String: String] {
    let prefix = section.lowercased() + ":"
    return source.values.reduce(into: [:]) { found, secret in
      if secret.key.lowercased().hasPrefix(prefix) {
        found[String(secret.key.dropFirst(prefix.count))] = secret.value.text
      }
    }
  }

  // MARK: Changes

  /// What tells one state of an application's layers from another.
  private struct Signature: Equatable {
    var files: FolderSignature?
    var secrets: [[String: String]] = []
  }

  private func signature(_ application: Application) -> Signature {
    var signature = Signature()
    if let folder = application.folder { signature.files = FolderSignature(folder: folder) }
    if let section = application.secretSection {
      signature.secrets = stores.stores.map { secrets(of: $0.source, in: section) }
    }
    return signature
  }

  func changes() -> AsyncStream<ConfigurationScope> {
    AsyncStream { continuation in
      guard !applications.isEmpty else { return continuation.finish() }
      let task = Task {
        var told = applications.map(signature)
        var seen = told
        while !Task.isCancelled {
          try? await Task.sleep(for: Self.lookInterval)
          for (index, application) in applications.enumerated() {
            let now = signature(application)
            defer { seen[index] = now }
            guard now == seen[index], now != told[index] else { continue }
            told[index] = now
            for scope in scopes(of: application) { continuation.yield(scope) }
          }
        }
        continuation.finish()
      }
      continuation.onTermination = { _ in task.cancel() }
    }
  }
}

extension ApplicationSources.Application {
  /// The applications that the settings name, by name.
  static func all(_ reader: inout SettingsReader) -> [ApplicationSources.Application] {
    let prefix = "\(SettingName.applications):"
    let names = reader.configuration.settings.keys.filter { $0.hasPrefix(prefix) }.compactMap {
      $0.dropFirst(prefix.count).split(separator: ":").first.map(String.init)
    }
    return Set(names).sorted().map { name in
      let key = { (part: String) in "\(prefix)\(name):\(part)" }
      return ApplicationSources.Application(
        name: name, folder: reader.text(key("Folder")),
        variablePrefix: reader.text(key("VariablePrefix")),
        secretSection: reader.text(key("SecretSection")))
    }
  }
}
