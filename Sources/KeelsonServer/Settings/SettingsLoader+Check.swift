import KeelsonAudit
import KeelsonConfiguration
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonCrypto
import KeelsonSecrets
import KeelsonTransport

extension SettingsLoader.Loaded {
  /// Every problem: those of the settings, and those of the files that they name and that the
  /// server would read at its start. Nothing is made or changed.
  ///
  /// - Throws: `CancellationError` only.
  package func allProblems(
    variables: [String: String], logger: Logger
  ) async throws -> [SettingsProblem] {
    var all = problems + fileProblems(logger: logger)
    let sources = ApplicationSources(
      settings.applications, environment: settings.environment, variables: variables,
      stores: stores, logger: .silent)
    for scope in sources.scopes {
      do {
        _ = try await sources.load(scope)
      } catch let error as CancellationError {
        throw error
      } catch {
        all.append(
          problem(
            "\(SettingName.Application.section):\(scope.application)", "readable",
            "its layers in \(scope.environment) cannot be read: \(error)"))
      }
    }
    return all
  }

  /// The settings, when nothing is wrong with them nor with the files that they name.
  ///
  /// - Throws: ``SettingsError`` with every problem.
  func checkedWithFiles() throws(SettingsError) -> ServerSettings {
    let all = problems + fileProblems()
    guard all.isEmpty else { throw SettingsError(all) }
    return settings
  }

  /// What is wrong with the certificates and keys that the settings name, or that lie where they are
  /// looked for when none is named. Nothing is made.
  func fileProblems(logger: Logger = .silent) -> [SettingsProblem] {
    var all: [SettingsProblem] = []
    if let tls = settings.tls {
      for (file, error) in TLSServerCertificates.problems(tls) {
        let key =
          switch file {
          case .certificate: SettingName.TLS.certificateFile
          case .key: SettingName.TLS.keyFile
          case .clientCA: SettingName.TLS.clientCAFile
          }
        all.append(problem(key, "tls", error.message))
      }
    }
    do {
      try settings.auditConfiguration.checkSigningKey()
    } catch {
      all.append(problem(SettingName.auditSigningKeyFile, "key", "\(error)"))
    }
    do {
      try settings.auditConfiguration.checkTrustedKeys()
    } catch {
      all.append(problem(SettingName.auditTrustedKeysFile, "key", "\(error)"))
    }
    let isEmbedded = settings.database == nil
    do {
      try settings.encryption.checkFiles(
        dataFolder: isEmbedded ? settings.dataFolder : nil, logger: logger)
    } catch {
      let encryption = settings.encryption
      let key =
        encryption.keyPath == nil
        ? SettingName.Encryption.currentKey : SettingName.Encryption.keyPath
      all.append(problem(key, "key", error.message))
    }
    return all
  }

  /// The names of the secret stores.
  package var storeNames: [String] { stores.stores.map(\.source.name) }

  /// A setting's value as people may see it.
  package func shownValue(of key: String) -> String {
    guard let setting = configuration.settings[key], !setting.isSensitive else {
      return SecretValue.mask
    }
    if case .integer(let bytes) = setting.value, ServerSchema.schema.rule(for: key)?.type == .size {
      return SizeText.text(bytes)
    }
    let text = setting.value.text
    // A URL with a name and a password is refused, and shown even so.
    let hasPassword = text.contains("://") && text.contains("@")
    return hasPassword ? SecretValue.mask : text
  }

  private func problem(_ key: String, _ rule: String, _ message: String) -> SettingsProblem {
    SettingsProblem(
      key: key, source: configuration.settings[key]?.source ?? "", rule: rule, message: message)
  }
}
