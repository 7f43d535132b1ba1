package import KeelsonAPI
import KeelsonConfigurationRules

/// What settings, schemas and watches may hold. Each number is a default; the errors name the
/// limit.
package struct ConfigurationLimits: Sendable {
  /// UTF-8 bytes of a setting's key.
  package var keyBytes = 256
  /// UTF-8 bytes of an application's, an environment's or a snapshot's name.
  package var nameBytes = 128
  /// UTF-8 bytes of a value as text.
  package var valueBytes = 512 << 10
  /// Lists and objects inside one another in a value.
  package var valueDepth = 32
  /// Settings of an application in one environment that are set through the API.
  package var settings = 10_000
  /// Bytes of their keys and values. A watch begins with all of them in one message, and clients
  /// take 4 MiB unless they are told otherwise.
  package var environmentBytes = 3 << 20
  /// Changes in one batch.
  package var batch = 1_000
  /// Bytes of the keys and values that one change sets.
  package var changeBytes = 3 << 20
  /// Applications.
  package var applications = 1_000
  /// Environments of one application.
  package var environments = 100
  /// Rules of one schema.
  package var rules = 1_000
  /// Values that one rule may allow.
  package var allowedValues = 1_000
  /// UTF-8 bytes of a rule's or a snapshot's description.
  package var descriptionBytes = 4_096
  /// Bytes of a whole schema in its encoded form.
  package var schemaBytes = 1 << 20
  /// Snapshots of an application in one environment.
  package var snapshots = 100
  /// Changes of single settings that are kept as history, of an application in one environment.
  package var history = 10_000
  /// Violations that an error or an event names; ValidateSettings names all.
  package var namedViolations = 50
  /// Violations that ValidateSettings and DefineSchema tell, and their bytes.
  package var validatedViolations = 2_000
  package var violationBytes = 1 << 20
  /// Steps that the checks of one request may take: it is checked where changes are made, one after
  /// the other.
  package var validationSteps = ValidationBudget.defaultSteps
  /// `WatchSettings` streams at one time.
  package var watchers = 100_000
  /// Changes a watcher can fall behind, or ask to resume across, before it gets a snapshot.
  package var changesBehind = 1_024
  /// Bytes of changes that are kept for the watchers of one application and environment.
  package var changeBytesBehind = 8 << 20
  /// How long a watch stays silent before a heartbeat.
  package var heartbeatInterval: Duration = .seconds(20)
  /// Values that a rotation of keys seals anew in one transaction.
  package var rotationStep = 100
  /// Entries on a page when the request names no number, the most it can name, and the bytes after
  /// which a page is ended.
  package var pages = PageLimits()

  package init() {}
}
