import KeelsonConfiguration

extension ServerLimits {
  static let configuration: [ServerLimit] = [
    count(
      "configuration-watches", \.configuration.watchers, 1...10_000_000,
      "watches of settings", "RESOURCE_EXHAUSTED with RetryInfo"),
    size(
      "configuration-key-size", \.configuration.keyBytes, 1...1_024,
      "a setting's key", "INVALID_ARGUMENT"),
    size(
      "configuration-value-size", \.configuration.valueBytes, 1...4 << 20,
      "a setting's value as text", "INVALID_ARGUMENT"),
    count(
      "configuration-settings", \.configuration.settings, 1...1_000_000,
      "settings of an application in an environment", "RESOURCE_EXHAUSTED"),
    size(
      "configuration-size", \.configuration.environmentBytes, 1 << 10...1 << 30,
      "their keys and values together", "RESOURCE_EXHAUSTED"),
    size(
      "configuration-change-size", \.configuration.changeBytes, 1 << 10...64 << 20,
      "the keys and values that one change sets", "RESOURCE_EXHAUSTED"),
    count(
      "configuration-validation-steps", \.configuration.validationSteps, 1_000...10_000_000_000,
      "steps that the checks of a request take", "INVALID_ARGUMENT, or RESOURCE_EXHAUSTED"),
    count(
      "configuration-batch", \.configuration.batch, 1...100_000,
      "changes in one call", "INVALID_ARGUMENT"),
    count(
      "configuration-applications", \.configuration.applications, 1...100_000,
      "applications", "RESOURCE_EXHAUSTED"),
    count(
      "configuration-environments", \.configuration.environments, 1...10_000,
      "environments of an application", "RESOURCE_EXHAUSTED"),
    count(
      "configuration-rules", \.configuration.rules, 1...100_000,
      "rules of a schema", "INVALID_ARGUMENT"),
    size(
      "configuration-schema-size", \.configuration.schemaBytes, 1 << 10...16 << 20,
      "a schema", "INVALID_ARGUMENT"),
    count(
      "configuration-snapshots", \.configuration.snapshots, 1...100_000,
      "snapshots of an application in an environment", "RESOURCE_EXHAUSTED"),
    count(
      "configuration-history", \.configuration.history, 1...10_000_000,
      "changes of single settings kept, likewise", "the oldest are let go"),
    count(
      "configuration-changes-behind", \.configuration.changesBehind, 1...1_000_000,
      "changes a watch may resume across or lag", "a fresh snapshot"),
    size(
      "configuration-changes-behind-size", \.configuration.changeBytesBehind, 1 << 10...1 << 30,
      "the same in bytes, kept per environment", "a fresh snapshot"),
    duration(
      "configuration-heartbeat-interval", \.configuration.heartbeatInterval, 100...3_600_000,
      "a watch without a word", "a heartbeat"),
    count(
      "configuration-rotation-step", \.configuration.rotationStep, 1...10_000,
      "values sealed anew in one transaction", "the next takes over"),
  ]
}
