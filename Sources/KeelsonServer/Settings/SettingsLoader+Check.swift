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

  /// What is wrong with the certificates and keys that the settings name.
  func fileProblems(logger: Logger = .silent) -> [SettingsProblem] {
    var all: [SettingsProblem] = []
    if let tls = settings.tls {
      do {
        _ = try TLSServerCertificates(tls, logger: logger)
      } catch {
        all.append(problem(SettingName.TLS.certificateFile, "tls", error.message))
      }
    }
    if let path = settings.encryption.keyPath {
      do {
        _ = try FileKeys(path: path, current: settings.encryption.currentKey, logger: logger)
      } catch {
        all.append(problem(SettingName.Encryption.keyPath, "key", error.message))
      }
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
