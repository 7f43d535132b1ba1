extension ServerLimits {
  /// The limits that are in force as soon as a changed configuration is taken over: those that each
  /// call is held to anew. All others belong to what is made at the start. docs/operations.md names
  /// the same ones.
  package static let immediate: [String] = [
    "flags-per-set", "segments-per-set", "flag-sets", "environments-per-set",
    "event-patterns", "event-pattern-size", "event-page-size", "event-page-bytes",
    "event-revisions-per-read", "event-telemetry-buffer", "event-heartbeat-interval",
    "configuration-key-size", "configuration-value-size", "configuration-settings",
    "configuration-size", "configuration-change-size", "configuration-validation-steps",
    "configuration-batch", "configuration-applications", "configuration-environments",
    "configuration-rules", "configuration-schema-size", "configuration-snapshots",
    "configuration-history", "configuration-rotation-step",
  ]
}
