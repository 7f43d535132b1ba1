import KeelsonCacheRules

/// As of when a value is true, and by what one learns that it no longer is.
struct CacheProvenance: Sendable {
  /// Its place in the order of invalidations; nil: nobody knows it.
  var position: CachePosition?
  var tags: [String]
  /// What the value says was true then, or later.
  var asOf: CacheInstant

  /// What is known of a value by now.
  enum Judgement {
    /// It is true, or was less than the limit ago.
    case current
    /// It was true when it was asked for; whether it is still, nobody knows.
    case late
    /// It was true when it was asked for; the stream has told since that it is void.
    case overtaken
    /// This process has made it void: it never gets that again.
    case void
  }
}
