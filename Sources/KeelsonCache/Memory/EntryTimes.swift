import KeelsonCacheRules

/// Until when an entry is fresh, and until when it is kept.
struct EntryTimes: Sendable {
  let freshUntil: CacheInstant
  let ttl: PackedDuration
  let stale: PackedDuration

  /// Those that it is given from now on, but not beyond the last.
  init(_ lifetime: CacheLifetime, until last: CacheInstant, at now: CacheInstant) {
    freshUntil = min(now + lifetime.ttl, last)
    let end = min(freshUntil + lifetime.staleFor, last)
    ttl = PackedDuration(now.duration(to: freshUntil))
    stale = PackedDuration(freshUntil.duration(to: end))
  }

  var keptUntil: CacheInstant {
    CacheInstant(microseconds: freshUntil.microseconds + stale.microseconds)
  }
}
