/// A type of event: what it is called and whether its events are kept.
package struct EventType: Sendable, Hashable {
  /// Whether events are stored.
  package enum Kind: Sendable, Hashable {
    /// Written in the transaction of the change it tells of (``EventDraft``).
    case durable
    /// To whoever listens at the moment (``TelemetryEvents``).
    case telemetry
  }

  /// `keelson.<area>.<EventName>`.
  package let name: String
  package let kind: Kind
  /// What has happened when there is one, a sentence.
  package let summary: String
}

/// Every type of event that Keelson publishes. Each service has names of its own for its own types;
/// TidyTests compares what the sources publish with what stands here.
package enum EventCatalogue {
  /// By name.
  package static let all: [EventType] =
    (flags + configuration + audit + health + events + jobs + cache).sorted { $0.name < $1.name }

  private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

  /// The type of this name; nil when there is none.
  package static func type(named name: String) -> EventType? { byName[name] }

  private static let flags: [EventType] = [
    durable("keelson.flags.FeatureFlagCreated", "A flag was created."),
    durable(
      "keelson.flags.FeatureFlagUpdated", "A flag's description, variants or the like changed."),
    durable(
      "keelson.flags.FeatureFlagToggled",
      "A flag was enabled or disabled in one or more environments."),
    durable("keelson.flags.FeatureFlagTargetingUpdated", "A flag's targeting rules changed."),
    durable("keelson.flags.FeatureFlagArchived", "A flag was taken out of use."),
    durable("keelson.flags.FeatureFlagRestored", "An archived flag was taken into use again."),
    durable("keelson.flags.FeatureFlagSegmentCreated", "A segment was created."),
    durable(
      "keelson.flags.FeatureFlagSegmentUpdated", "A segment's condition or description changed."),
    durable("keelson.flags.FeatureFlagSegmentDeleted", "A segment was deleted."),
    durable("keelson.flags.FeatureFlagSetCreated", "A flag set was created."),
    durable("keelson.flags.FeatureFlagSetUpdated", "A flag set changed."),
    telemetry("keelson.flags.FeatureFlagEvaluated", "The server evaluated a flag for a caller."),
  ]

  private static let configuration: [EventType] = [
    durable(
      "keelson.configuration.ConfigurationUpdated", "Settings were set, deleted or rolled back."),
    durable(
      "keelson.configuration.ConfigurationLoaded", "The settings of an application were loaded."),
    durable(
      "keelson.configuration.ConfigurationValidated",
      "Settings were checked against their schema, well or badly."),
    durable(
      "keelson.configuration.ConfigurationReloaded",
      "A changed file or secret store was taken over."),
    durable(
      "keelson.configuration.ConfigurationReloadRefused",
      "A changed file or secret store was refused: the old values stay."),
    durable(
      "keelson.configuration.ConfigurationSchemaDefined", "An application got another schema."),
    durable(
      "keelson.configuration.ConfigurationSnapshotCreated", "Settings were kept under a name."),
    durable("keelson.configuration.ConfigurationSnapshotDeleted", "A snapshot was deleted."),
    durable(
      "keelson.configuration.ConfigurationEncrypted",
      "Sensitive values were encrypted, or their keys rotated."),
  ]

  private static let audit: [EventType] = [
    durable("keelson.audit.LogsArchived", "Expired audit entries were moved to an archive."),
    durable("keelson.audit.RetentionPolicyUpdated", "How long audit entries are kept was changed."),
    durable("keelson.audit.SubjectErased", "The personal data of a subject was erased."),
    telemetry("keelson.audit.AuditLogCreated", "An entry was added to the audit trail."),
  ]

  private static let health: [EventType] = [
    telemetry("keelson.health.SystemHealthChecked", "A round of health checks ended."),
    telemetry("keelson.health.DatabaseHealthChecked", "The database was checked."),
    telemetry("keelson.health.CacheHealthChecked", "The cache was checked."),
    telemetry("keelson.health.BackgroundJobHealthChecked", "The jobs were looked at."),
    telemetry(
      "keelson.health.HealthAlertRaised",
      "Three checks in a row did not find a component healthy, or found it worse than alerted of."),
    telemetry("keelson.health.HealthAlertEnded", "A component alerted of is healthy again."),
  ]

  private static let events: [EventType] = [
    durable(
      "keelson.events.EventRetentionPolicyUpdated", "How long events are kept was changed."),
    telemetry(
      "keelson.events.EventsCompacted", "Events that the policy does not keep were removed."),
    durable(
      "keelson.events.EventsCompactedByHand", "They were removed because somebody asked for it."),
  ]

  private static let jobs: [EventType] = [
    durable("keelson.jobs.BackgroundJobScheduled", "Jobs were created."),
    durable(
      "keelson.jobs.BackgroundJobStatusChanged",
      "Jobs became due, were handed to workers, handed back, or are to be retried."),
    durable("keelson.jobs.BackgroundJobExecuted", "Jobs were completed."),
    durable(
      "keelson.jobs.BackgroundJobFailed", "Attempts failed, with or without a retry to come."),
    durable(
      "keelson.jobs.BackgroundJobCancelled", "Jobs were called off, or their workers were told."),
    durable("keelson.jobs.BackgroundJobPrioritized", "A job got another priority."),
    durable("keelson.jobs.BackgroundJobDeleted", "A job that had ended was removed."),
    durable(
      "keelson.jobs.BackgroundJobRefused",
      "A job that SQL had made was not taken up: the entry in the audit trail says why."),
    durable(
      "keelson.jobs.BackgroundJobsPruned",
      "Jobs that were kept long enough were removed because somebody asked for it."),
    durable("keelson.jobs.JobQueueUpdated", "A queue got other limits, was paused or resumed."),
    durable(
      "keelson.jobs.JobQueueDepthExceeded", "A queue holds more pending jobs than is alerted of."),
    durable(
      "keelson.jobs.JobQueueDepthRecovered",
      "A queue that was alerted of holds no more than four fifths of that again."),
    durable("keelson.jobs.JobScheduleUpdated", "A schedule was created or changed."),
    durable("keelson.jobs.JobScheduleDeleted", "A schedule was deleted."),
    durable(
      "keelson.jobs.JobScheduleSkipped",
      "Schedules were due and created no job: by their overlap policy, since the queue was full, or "
        + "since they make up for nothing."),
  ]

  private static let cache: [EventType] = [
    telemetry("keelson.cache.CacheEntryAdded", "An entry was stored."),
    telemetry(
      "keelson.cache.CacheInvalidated", "Entries were made void, by key, tag or pattern, or all."),
    telemetry("keelson.cache.CacheStatisticsCollected", "How the cache is used, now and then."),
    durable(
      "keelson.cache.CacheFlushed", "Every entry was made void because somebody asked for it."),
    durable("keelson.cache.CacheWarmingStarted", "A server has begun to load a warm set."),
    durable("keelson.cache.CacheWarmingCancelled", "The loading of a warm set was called off."),
    durable("keelson.cache.CacheWarmed", "The loading of a warm set has ended, well or badly."),
    durable("keelson.cache.CacheWarmSetCreated", "A warm set was created."),
    durable("keelson.cache.CacheWarmSetUpdated", "A warm set changed."),
    durable("keelson.cache.CacheWarmSetDeleted", "A warm set was deleted."),
    durable(
      "keelson.cache.CacheFallbackActivated",
      "Redis does not answer: a server goes on with its own memory."),
    durable("keelson.cache.CacheFallbackEnded", "A server uses Redis again."),
  ]

  private static func durable(_ name: String, _ summary: String) -> EventType {
    EventType(name: name, kind: .durable, summary: summary)
  }

  private static func telemetry(_ name: String, _ summary: String) -> EventType {
    EventType(name: name, kind: .telemetry, summary: summary)
  }
}
