import KeelsonAPI

/// What a flag, a segment and a set may hold. Each number is a default; the errors name the limit.
package struct FlagLimits: Sendable {
  /// Bytes of a flag's, segment's or set's key, and of a variant's name.
  package var keyBytes = 128
  /// Bytes of a description.
  package var descriptionBytes = 4_096
  /// Bytes of an owner.
  package var ownerBytes = 256
  /// Tags of a flag.
  package var tags = 32
  /// Bytes of a tag.
  package var tagBytes = 64
  /// Variants of a flag.
  package var variants = 100
  /// Bytes of one variant's value as JSON.
  package var variantBytes = 64 * 1_024
  /// Environments a flag can have a state in.
  package var environments = 32
  /// Bytes of an environment's name.
  package var environmentBytes = 64
  /// Bytes of a targeting rule or a segment's condition.
  package var targetingBytes = 64 * 1_024
  /// Bytes of metadata as JSON.
  package var metadataBytes = 8 * 1_024
  /// Bytes of a whole flag in its encoded form.
  package var flagBytes = 512 * 1_024
  /// Lists and objects inside one another in a variant.
  package var variantDepth = 32
  /// Environments that the flags of one set have states in, taken together.
  package var environmentsPerSet = 100
  /// Bytes of the text that a list is searched for.
  package var queryBytes = 256
  /// Bytes after which a page of a list is ended, however few entries it has.
  package var pageBytes = 1 << 20
  /// Bytes that the values of one `EvaluateFlags` may come to, roughly.
  package var evaluationBytes = 3 << 20
  /// Flags in one set, archived ones included.
  package var flagsPerSet = 10_000
  /// Segments in one set.
  package var segmentsPerSet = 1_000
  /// Flag sets.
  package var sets = 1_000
  /// Entries on a page when the request names no number, and the most it can name.
  package var defaultPageSize = 100
  package var maximumPageSize = 1_000
  /// Flags that one `EvaluateFlags` can name.
  package var keysPerEvaluation = 1_000
  /// `WatchFlags` streams at one time.
  package var subscribers = 100_000
  /// Changes a subscriber can fall behind, or ask to resume across, before it gets a snapshot.
  package var changesBehind = 1_024
  /// Bytes of changes that are kept for the subscribers of one set and environment.
  package var changeBytesBehind = 8 << 20
  /// How long a watch stays silent before a heartbeat.
  package var heartbeatInterval: Duration = .seconds(20)

  package init() {}

  /// How large the pages of lists are.
  var pages: PageLimits {
    PageLimits(defaultSize: defaultPageSize, maximumSize: maximumPageSize, bytes: pageBytes)
  }
}
