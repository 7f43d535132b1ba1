/// What the audit service takes and gives. Each number is a default; the errors name the limit.
package struct AuditLimits: Sendable {
  /// Entries that one `RecordEntries` can bring.
  package var entriesPerCall = 1_000
  /// Bytes of an actor, of a subject and of a peer.
  package var nameBytes = 256
  /// Bytes of an action and of an entity type.
  package var wordBytes = 128
  /// Bytes of a category.
  package var categoryBytes = 64
  /// Bytes of an entity id, of a user agent and of the reason of an erasure.
  package var textBytes = 512
  /// Bytes of `before` and of `after`.
  package var stateBytes = 64 << 10
  /// Attributes of an entry.
  package var attributes = 32
  /// Bytes of an attribute's key.
  package var attributeKeyBytes = 64
  /// Bytes of an attribute's value.
  package var attributeValueBytes = 1_024
  /// Entries that wait to be written, of all calls together.
  package var waitingEntries = 100_000
  /// Bytes of them.
  package var waitingBytes = 64 << 20
  /// Entries that share one transaction.
  package var entriesPerCommit = 2_000
  /// Bytes of them.
  package var bytesPerCommit = 8 << 20

  /// Entries on a page when the request names no number, and the most it can name.
  package var defaultPageSize = 100
  package var maximumPageSize = 1_000
  /// Entries that are read at once, for a page, a tail or an export.
  package var entriesPerRead = 500
  /// About how many bytes those should have.
  package var readBytes = 1 << 20
  /// Bytes after which a page is ended, however few entries it has.
  package var pageBytes = 1 << 20
  /// Entries that are looked at for one page; one that finds too few that match ends early, and
  /// goes on with the next.
  package var entriesExamined = 500
  /// Actions that a prefix is resolved into; with more, entries are looked through instead.
  package var actionsPerPrefix = 64

  /// `TailEntries` streams at one time.
  package var tails = 1_000
  /// Entries that are kept in memory for tails that keep up.
  package var recentEntries = 4_096
  /// Bytes of them.
  package var recentBytes = 8 << 20
  /// `ExportEntries` and `DownloadArchive` streams at one time.
  package var exports = 16
  /// Bytes of a piece of an export.
  package var exportPieceBytes = 64 << 10
  /// How long a tail stays silent before a heartbeat.
  package var heartbeatInterval: Duration = .seconds(20)

  /// How long until a checkpoint is signed, whether or not something was recorded.
  package var checkpointInterval: Duration = .seconds(3_600)
  /// Checkpoints that this server signs in an hour because somebody asks for them.
  package var checkpointsPerHour = 360
  /// Entries after which one is signed.
  package var checkpointEntries = 100_000
  /// Entries in one archive.
  package var entriesPerArchive = 1_000_000
  /// Categories that a retention policy names.
  package var categories = 100
  /// How long until keys of subjects are looked for that an older key wraps.
  package var rewrapInterval: Duration = .seconds(3_600)
  /// Keys of subjects that are kept in memory.
  package var cachedSubjects = 10_000

  package init() {}
}
