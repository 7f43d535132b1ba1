import KeelsonCacheRules

/// Until when an entry is fresh, and until when it is kept.
struct EntryTimes: Sendable {
  let freshUntil: CacheInstant
  /// How long it is given to be fresh, and then to be kept: whole ones. `cache-ttl` allows no more than
  /// fit.
  let ttlMilliseconds: UInt32
  let staleMilliseconds: UInt32

  /// Those that it is given from now on, but not beyond the last.
  init(_ lifetime: CacheLifetime, until last: CacheInstant, at now: CacheInstant) {
    freshUntil = min(now + lifetime.ttl, last)
    let end = min(freshUntil + lifetime.staleFor, last)
    ttlMilliseconds = Self.milliseconds(now, freshUntil)
    staleMilliseconds = Self.milliseconds(freshUntil, end)
  }

  private static func milliseconds(_ begin: CacheInstant, _ end: CacheInstant) -> UInt32 {
    UInt32(clamping: (end.microseconds - begin.microseconds) / 1_000)
  }

  var keptUntil: CacheInstant {
    CacheInstant(microseconds: freshUntil.microseconds + Int64(staleMilliseconds) * 1_000)
  }
}
