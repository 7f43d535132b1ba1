import KeelsonAudit

extension ServerLimits {
  static let audit: [ServerLimit] = [
    count(
      "audit-entries-per-call", \.audit.entriesPerCall, 1...10_000,
      "entries that one `RecordEntries` brings", "INVALID_ARGUMENT"),
    size(
      "audit-state-size", \.audit.stateBytes, 1...1 << 20,
      "`before` and `after` of an entry", "INVALID_ARGUMENT"),
    count(
      "audit-waiting-entries", \.audit.waitingEntries, 1...10_000_000,
      "entries that wait for the disk", "RESOURCE_EXHAUSTED with RetryInfo"),
    size(
      "audit-waiting-size", \.audit.waitingBytes, 1 << 20...64 << 30,
      "the same in bytes", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "audit-entries-examined", \.audit.entriesExamined, 100...1_000_000,
      "entries that are looked at for a page", "the page ends early"),
    size(
      "audit-read-size", \.audit.readBytes, 64 << 10...1 << 30,
      "entries that are read at once", "they are read in several parts"),
    count(
      "audit-tails", \.audit.tails, 1...1_000_000,
      "tails of the audit trail", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "audit-exports", \.audit.exports, 1...10_000,
      "exports and downloads of archives at once", "RESOURCE_EXHAUSTED with RetryInfo"),
    duration(
      "audit-checkpoint-interval", \.audit.checkpointInterval, 1_000...86_400_000,
      "time between two checkpoints", "the next is signed"),
    count(
      "audit-checkpoint-entries", \.audit.checkpointEntries, 1...1_000_000_000,
      "entries between two checkpoints", "the next is signed"),
    count(
      "audit-checkpoints-per-hour", \.audit.checkpointsPerHour, 1...1_000_000,
      "checkpoints that callers have signed", "RESOURCE_EXHAUSTED with RetryInfo"),
    duration(
      "audit-rewrap-interval", \.audit.rewrapInterval, 1_000...86_400_000,
      "time between two looks for subjects' keys that an older key wraps",
      "they are wrapped anew"),
    count(
      "audit-archive-entries", \.audit.entriesPerArchive, 1...100_000_000,
      "entries of an archive", "the next is begun"),
  ]
}
