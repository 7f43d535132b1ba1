import KeelsonCache
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonFlags
import KeelsonPostgres
import KeelsonRedis
import KeelsonStore
import KeelsonTransport

extension ServerSettings {
  /// Takes the settings out of a configuration that the schema has let through.
  ///
  /// - Returns: also what the schema cannot say: settings that need one another, addresses that
  ///   are none.
  static func reading(
    _ configuration: EffectiveConfiguration
  ) -> (settings: ServerSettings, problems: [SettingsProblem]) {
    var reader = SettingsReader(configuration)
    var settings = ServerSettings()
    settings.environment = reader.text(SettingName.environment) ?? settings.environment
    settings.eventSource = reader.text(SettingName.eventSource)
    settings.dataFolder = reader.text(SettingName.data) ?? settings.dataFolder
    settings.database = reader.text(SettingName.database)
    settings.databaseOwner = reader.text(SettingName.databaseOwner)
    settings.cache = reader.text(SettingName.cache)
    settings.cacheWarmCAFile = reader.text(SettingName.cacheWarmCAFile)
    settings.readWarmOrigins(&reader)
    settings.auditSigningKeyFile = reader.text(SettingName.auditSigningKeyFile)
    settings.auditTrustedKeysFile = reader.text(SettingName.auditTrustedKeysFile)
    settings.auditArchiveFolder = reader.text(SettingName.auditArchiveFolder)
    settings.allowsInsecureRemote = reader.flag(SettingName.insecureRemotePlaintext)
    settings.servesReflection = reader.flag(SettingName.reflection)
    settings.loops = reader.integer(SettingName.loops)
    settings.drainGrace = reader.duration(SettingName.drainTimeout) ?? settings.drainGrace
    settings.logLevel =
      reader.text(SettingName.logLevel).flatMap(Logger.Level.init) ?? settings.logLevel
    settings.tls = tls(&reader)
    settings.readAddresses(&reader)
    settings.readLimits(&reader)
    settings.encryption = EncryptionSettings(&reader)
    settings.applications = ApplicationSettings.all(&reader)
    settings.checkNames(&reader)
    return (settings, reader.problems)
  }

  private static func tls(_ reader: inout SettingsReader) -> TLSServerConfiguration? {
    for key in [
      SettingName.TLS.keyFile, SettingName.TLS.clientCAFile, SettingName.TLS.clientAuthentication,
    ] {
      reader.require(SettingName.TLS.certificateFile, for: key)
    }
    reader.require(SettingName.TLS.keyFile, for: SettingName.TLS.certificateFile)
    guard let certificate = reader.text(SettingName.TLS.certificateFile),
      let key = reader.text(SettingName.TLS.keyFile)
    else { return nil }
    var tls = TLSServerConfiguration(certificateFile: certificate, keyFile: key)
    tls.clientCAFile = reader.text(SettingName.TLS.clientCAFile)
    let mode = reader.text(SettingName.TLS.clientAuthentication).flatMap(
      TLSServerConfiguration.ClientAuthentication.init)
    tls.clientAuthentication = mode ?? (tls.clientCAFile == nil ? .none : .required)
    if (tls.clientAuthentication == .none) != (tls.clientCAFile == nil) {
      reader.note(
        SettingName.TLS.clientAuthentication, "required",
        tls.clientCAFile == nil
          ? "'\(tls.clientAuthentication.rawValue)' needs "
            + "\(SettingsReader.name(SettingName.TLS.clientCAFile)) as well"
          : "'none' has no use for \(SettingsReader.name(SettingName.TLS.clientCAFile))")
    }
    return tls
  }

  private mutating func readAddresses(_ reader: inout SettingsReader) {
    listen = reader.texts(SettingName.listen)
    probeListen = reader.texts(SettingName.probeListen)
    for (key, addresses) in [
      (SettingName.listen, listen), (SettingName.probeListen, probeListen),
    ] {
      for text in addresses {
        do {
          let address = try ListenAddress(parsing: text)
          guard key == SettingName.listen else { continue }
          try checkReach(of: address, text, isSecured: tls != nil)
        } catch {
          reader.note(key, "address", (error as? RPCError)?.message ?? "\(error)")
        }
      }
    }
  }

  private mutating func readWarmOrigins(_ reader: inout SettingsReader) {
    for text in reader.texts(SettingName.cacheWarmOrigins) {
      do {
        cacheWarmOrigins.insert(try WarmOrigin(text))
      } catch {
        reader.note(SettingName.cacheWarmOrigins, "origin", "'\(text.prefix(128))' \(error)")
      }
    }
  }

  private mutating func readLimits(_ reader: inout SettingsReader) {
    for limit in ServerLimits.all {
      let key = SettingName.limit(limit.name)
      guard reader.isSet(key), let value = reader.configuration[key] else { continue }
      do {
        try limit.set(value, in: &limits)
      } catch {
        reader.note(key, "limit", error.message)
      }
    }
  }

  private func checkNames(_ reader: inout SettingsReader) {
    do {
      try FlagService.check(environment: environment)
    } catch {
      reader.note(
        SettingName.environment, "pattern", (error as? RPCError)?.message ?? "\(error)")
    }
    for (key, url) in [
      (SettingName.database, database), (SettingName.databaseOwner, databaseOwner),
    ] {
      guard let url else { continue }
      do {
        try PostgresConfiguration(url: url).check()
      } catch {
        // Its sentence never has the password.
        reader.note(key, "address", (error as? StoreError)?.message ?? "\(error)")
      }
    }
    reader.require(SettingName.database, for: SettingName.databaseOwner)
    if let cache {
      do {
        _ = try RedisURL(cache)
      } catch {
        // Its sentence never has the password.
        reader.note(SettingName.cache, "address", error.message)
      }
    }
    guard eventSource != nil else { return }
    do {
      _ = try checkedEventSource()
    } catch {
      reader.note(SettingName.eventSource, "format", (error as? RPCError)?.message ?? "\(error)")
    }
  }
}
