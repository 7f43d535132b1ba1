import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore

/// The events of this service. Where they change settings, their payload is a `StoredChange`, from
/// which the book and resuming watches learn what happened. No value stands in their data.
enum ConfigurationEvent: String, Sendable {
  case loaded = "keelson.configuration.ConfigurationLoaded"
  case validated = "keelson.configuration.ConfigurationValidated"
  case reloaded = "keelson.configuration.ConfigurationReloaded"
  case reloadRefused = "keelson.configuration.ConfigurationReloadRefused"
  case encrypted = "keelson.configuration.ConfigurationEncrypted"
  case updated = "keelson.configuration.ConfigurationUpdated"
  case schemaDefined = "keelson.configuration.ConfigurationSchemaDefined"
  case snapshotCreated = "keelson.configuration.ConfigurationSnapshotCreated"
  case snapshotDeleted = "keelson.configuration.ConfigurationSnapshotDeleted"

  /// What all types here begin with.
  static let typePrefix = "keelson.configuration."

  func draft(
    _ scope: ConfigurationScope, _ data: [String: JSONValue] = [:], payload: [UInt8] = []
  ) -> EventDraft {
    var data = data
    data["application"] = .string(scope.application)
    if !scope.environment.isEmpty { data["environment"] = .string(scope.environment) }
    return EventDraft(
      type: rawValue, subject: scope.environment.isEmpty ? scope.application : "\(scope)",
      data: JSONText(.object(data)), payload: payload)
  }
}

extension JSONValue {
  /// Violations as an event tells them; no value of a setting stands in it.
  init(_ violations: [ConfigurationViolation], limit: Int) {
    self = .array(
      violations.prefix(limit).map {
        [
          "key": .string($0.key), "layer": .string($0.layer.name),
          "source": .string($0.source), "rule": .string($0.rule.rawValue),
        ]
      })
  }

  init(keys: [String], limit: Int) {
    self = .array(keys.prefix(limit).map { .string($0) })
  }
}
