import KeelsonCacheRules
import KeelsonCore

/// What a cache that never runs out of room does, said as plainly as can be: dictionaries, and the list
/// of everything that was ever invalidated.
struct CacheModel {
  struct Entry {
    var value: [UInt8]
    var isAbsent: Bool
    var tags: [String]
    var stamp: UInt64
    var freshUntil: Int64
    var keptUntil: Int64
    var ttl: Int64
  }

  struct Lease {
    var token: UInt64
    var stamp: UInt64
    var granted: Int64
    var ends: Int64
  }

  var now: Int64 = 1_000_000
  var history: [Invalidation] = []
  var entries: [String: Entry] = [:]
  var leases: [String: Lease] = [:]
  let maximumAge: Int64?

  var sequence: UInt64 { UInt64(history.count) }

  init(maximumAge: Int64?) { self.maximumAge = maximumAge }

  mutating func clear() {
    history = []
    entries = [:]
    leases = [:]
  }

  private func isCurrent(_ key: String, _ stamp: UInt64, tags: [String]) -> Bool {
    !history.contains { invalidation in
      guard invalidation.sequence > stamp else { return false }
      switch invalidation.scope {
      case .keys: return false
      case .tags(let names): return names.contains(where: tags.contains)
      case .pattern(let pattern): return pattern.matches(key)
      case .all: return true
      }
    }
  }

  func kept(_ key: String) -> Entry? {
    guard let entry = entries[key], entry.keptUntil > now,
      isCurrent(key, entry.stamp, tags: entry.tags)
    else { return nil }
    return entry
  }

  func fresh(_ key: String) -> Entry? {
    kept(key).flatMap { $0.freshUntil > now ? $0 : nil }
  }

  /// A lease that has not ended, and whether a pattern or all has made it void.
  func lease(_ key: String) -> (lease: Lease, isVoid: Bool)? {
    guard let lease = leases[key], lease.ends > now else { return nil }
    return (lease, !isCurrent(key, lease.stamp, tags: []))
  }

  mutating func invalidate(_ scope: Invalidation.Scope) {
    history.append(Invalidation(sequence: sequence + 1, scope: scope))
    guard case .keys(let keys) = scope else { return }
    for key in keys {
      entries[key] = nil
      leases[key] = nil
    }
  }

  /// How long something is kept after it was fresh is a number of whole milliseconds.
  private func keptUntil(_ freshUntil: Int64, _ lifetime: CacheLifetime, _ last: Int64) -> Int64 {
    let end = min(freshUntil + lifetime.staleFor.microseconds, last)
    return freshUntil + (end - freshUntil) / 1_000 * 1_000
  }

  private func entry(_ write: CacheWrite, stamp: UInt64, born: Int64) -> Entry {
    let last = maximumAge.map { born + $0 } ?? .max
    let freshUntil = min(now + write.lifetime.ttl.microseconds, last)
    return Entry(
      value: write.value, isAbsent: write.isAbsent, tags: write.tags, stamp: stamp,
      freshUntil: freshUntil,
      keptUntil: keptUntil(freshUntil, write.lifetime, last),
      ttl: freshUntil - now)
  }

  mutating func set(_ write: CacheWrite) {
    invalidate(.keys([write.key]))
    entries[write.key] = entry(write, stamp: sequence, born: now)
  }

  mutating func fill(_ write: CacheWrite, under lease: Lease) {
    leases[write.key] = nil
    entries[write.key] = entry(write, stamp: lease.stamp, born: lease.granted)
  }

  mutating func touch(_ key: String, _ lifetime: CacheLifetime) -> Bool {
    guard let old = fresh(key) else { return false }
    let last = maximumAge == nil ? Int64.max : old.keptUntil
    let freshUntil = min(now + lifetime.ttl.microseconds, last)
    let kept = keptUntil(freshUntil, lifetime, last)
    entries[key]?.freshUntil = freshUntil
    entries[key]?.keptUntil = kept
    entries[key]?.ttl = freshUntil - now
    return true
  }
}

extension Duration {
  var microseconds: Int64 {
    components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
  }
}
