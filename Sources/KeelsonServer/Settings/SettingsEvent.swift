import KeelsonAuditTrail
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets
import KeelsonStore

/// What happened to Keelson's own settings, for events and the audit trail. Keys stand in it,
/// values never.
struct SettingsEvent: Sendable, Equatable {
  /// The CloudEvents type.
  let type: String
  /// What is done, for the audit trail: `settings.reload`.
  let action: String
  let isFailure: Bool
  let data: JSONValue

  /// What the server started with. Source: SYS-127 AC4.
  static func loaded(_ loaded: SettingsLoader.Loaded) -> SettingsEvent {
    let layers = loaded.configuration.settings.values.filter { $0.layer != .defaults }
      .reduce(into: [String: Int]()) { $0[$1.layer.name, default: 0] += 1 }
    return SettingsEvent(
      type: "keelson.configuration.ConfigurationLoaded", action: "settings.load", isFailure: false,
      data: [
        "environment": .string(loaded.environment),
        "environment_source": .string(loaded.environmentSource),
        "files": .array(loaded.files.map { .string($0) }),
        "stores": .array(loaded.stores.stores.map { .string($0.source.name) }),
        "settings_by_layer": .object(layers.mapValues { .number(Double($0)) }),
      ])
  }

  /// Source: SYS-128 AC4.
  static func validated(_ loaded: SettingsLoader.Loaded) -> SettingsEvent {
    SettingsEvent(
      type: "keelson.configuration.ConfigurationValidated", action: "settings.validate",
      isFailure: false,
      data: [
        "environment": .string(loaded.environment),
        "settings": .number(Double(loaded.configuration.settings.count)),
        "violations": .array([]),
      ])
  }

  /// Source: SYS-129 AC4.
  static func reloaded(changed: [String], needRestart: [String]) -> SettingsEvent {
    SettingsEvent(
      type: "keelson.configuration.ConfigurationReloaded", action: "settings.reload",
      isFailure: false,
      data: [
        "outcome": "applied", "keys": .array(changed.map { .string($0) }),
        "need_restart": .array(needRestart.map { .string($0) }),
      ])
  }

  /// Source: SYS-129 AC3.
  static func refused(reason: String, problems: [SettingsProblem]) -> SettingsEvent {
    SettingsEvent(
      type: "keelson.configuration.ConfigurationReloaded", action: "settings.reload",
      isFailure: true,
      data: [
        "outcome": "refused", "reason": .string(reason),
        "violations": .array(
          problems.map {
            [
              "key": .string($0.key), "source": .string($0.source), "rule": .string($0.rule),
              "message": .string($0.message),
            ]
          }),
      ])
  }
}

extension Change {
  /// Writes the events, each with its audit entry.
  func record(_ events: [SettingsEvent], environment: String) {
    for event in events {
      audit(
        AuditDraft(
          action: event.action, entityType: "settings", entityID: "keelson/\(environment)",
          after: JSONText(event.data), outcome: event.isFailure ? .failure : .success))
      emit(
        EventDraft(
          type: event.type, subject: "keelson/\(environment)",
          data: JSONText(event.data)))
    }
  }
}
