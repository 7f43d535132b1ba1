import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

extension SettingsSubscription {
  /// A setting as the server has it now, by a key in any case.
  ///
  /// - Throws: ``RPCError``.
  func fetch(_ key: String) async throws -> (key: String, setting: SettingsSnapshot.Setting?) {
    if let known = snapshot?.key(matching: key) {
      do {
        let setting = try await client.getSetting(
          .init(
            application: request.application, environment: request.environment, key: known,
            reveal: request.reveal))
        return (known, SettingsSnapshot.Setting(setting))
      } catch let error as RPCError where error.code == .notFound {
        // Gone, or there is another that is written otherwise.
      }
    }
    let all = try await fetchAll()
    guard let found = all.key(matching: key) else { return (key, nil) }
    return (found, all.settings[found])
  }

  private func fetchAll() async throws -> SettingsSnapshot {
    var listing = API.ListSettingsRequest(
      application: request.application, environment: request.environment, pageSize: 1_000,
      reveal: request.reveal)
    var found: [String: SettingsSnapshot.Setting] = [:]
    var revision: Int64 = 0
    repeat {
      let page = try await client.listSettings(listing)
      for setting in page.settings { found[setting.key] = SettingsSnapshot.Setting(setting) }
      revision = page.revision
      listing.pageToken = page.nextPageToken
    } while !listing.pageToken.isEmpty
    return SettingsSnapshot(settings: found, revision: revision)
  }
}

extension SettingsSnapshot.Setting {
  fileprivate init(_ message: KeelsonConfigurationV1.Setting) {
    self.init(
      value: message.masked ? nil : message.value.flatMap(SettingValue.init),
      layer: ConfigurationLayer(message.layer), isSensitive: message.sensitive)
  }
}
