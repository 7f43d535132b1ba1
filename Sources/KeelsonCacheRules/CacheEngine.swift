package import KeelsonCore

/// Where entries are kept: in this process's memory, or in Redis.
///
/// Everything is checked already: keys, tags, sizes and times are good. What an engine gives out is
/// current, or was until less than the cache's staleness ago.
package protocol CacheEngine: Sendable {
  /// For each key, its entry if there is a current one that is fresh.
  func get(_ keys: [String]) async throws(CacheEngineError) -> [CacheEntry?]

  /// Stores entries in place of what is there, each by itself; what it replaces becomes void.
  func set(_ writes: [CacheWrite]) async throws(CacheEngineError) -> [CacheWriteOutcome]

  /// Stores what was loaded under a lease, if that stands.
  func fill(_ write: CacheWrite, under lease: CacheLease) async throws(CacheEngineError)
    -> CacheWriteOutcome

  /// An entry, or a lease to load it, or word that another has it. Does not wait for the other: the
  /// caller waits with ``wait(for:until:)``.
  func lease(_ key: String, _ request: CacheLeaseRequest) async throws(CacheEngineError)
    -> CacheLeaseOutcome

  /// Gives a lease back without a value and wakes who waits. Returns whether it stood.
  func release(_ lease: CacheLease, of key: String) async throws(CacheEngineError) -> Bool

  /// Lets entries live on from now. For each key, whether there was a current one that is fresh: one
  /// that is kept stale stays so.
  func touch(_ keys: [String], _ lifetime: CacheLifetime) async throws(CacheEngineError) -> [Bool]

  /// Deletes entries and leases: an invalidation by keys.
  func delete(_ keys: [String]) async throws(CacheEngineError) -> (
    found: [Bool], position: CachePosition
  )

  /// Makes void what the scope says. On return no get of this server gives it.
  ///
  /// - Throws: ``CacheEngineError`` with code `.full` when too many patterns wait for a sweep.
  func invalidate(_ scope: Invalidation.Scope) async throws(CacheEngineError) -> CachePosition

  /// Waits until a lease of the key may have ended, an entry may be there, or the time has come:
  /// then ask again. Returns at once when something has happened since `lease` was asked.
  func wait(for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant) async

  /// How much is in it.
  func measure() async throws(CacheEngineError) -> CacheMeasure

  /// Follows what becomes void: the observer hears, in order and without a gap, of all that comes
  /// after its `.start`, on any thread, and must not block. One observer an engine.
  func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void)

  /// How old what this engine knows may be; nil when it does not know.
  func age(at now: ContinuousClock.Instant) -> Duration?
}

/// What an engine's follower hears.
package enum CacheFeedEvent: Sendable {
  /// All that was known is void: the first event, another epoch, or a gap.
  case start(CachePosition)
  case invalidation(Invalidation)
}

/// A place in the order of all invalidations.
package struct CachePosition: Sendable, Hashable {
  package var epoch: UInt64
  package var sequence: UInt64

  package init(epoch: UInt64, sequence: UInt64) {
    self.epoch = epoch
    self.sequence = sequence
  }
}

/// What is stored under a key.
package struct CacheEntry: Sendable, Hashable {
  /// Empty when ``isAbsent``.
  package var value: [UInt8]
  package var isAbsent: Bool
  package var tags: [String]
  package var position: Stamp
  /// When it stops being fresh.
  package var freshUntil: UnixTime
  /// How long it was given to be fresh.
  package var ttl: Duration

  package typealias Stamp = CachePosition

  package init(
    value: [UInt8], isAbsent: Bool = false, tags: [String] = [], position: Stamp,
    freshUntil: UnixTime, ttl: Duration
  ) {
    self.value = value
    self.isAbsent = isAbsent
    self.tags = tags
    self.position = position
    self.freshUntil = freshUntil
    self.ttl = ttl
  }
}

/// How long an entry lives from when it is stored, jitter taken off already.
package struct CacheLifetime: Sendable, Hashable {
  package var ttl: Duration
  /// How long it is kept after that for who cannot load.
  package var staleFor: Duration

  package init(ttl: Duration, staleFor: Duration = .zero) {
    self.ttl = ttl
    self.staleFor = staleFor
  }
}

package struct CacheWrite: Sendable {
  package var key: String
  package var value: [UInt8]
  package var isAbsent: Bool
  package var tags: [String]
  package var lifetime: CacheLifetime

  package init(
    key: String, value: [UInt8], isAbsent: Bool = false, tags: [String] = [],
    lifetime: CacheLifetime
  ) {
    self.key = key
    self.value = value
    self.isAbsent = isAbsent
    self.tags = tags
    self.lifetime = lifetime
  }
}

package enum CacheWriteOutcome: Sendable, Hashable {
  /// With this stamp; `isLocal`: in this server's memory, in place of Redis.
  case stored(CachePosition, isLocal: Bool = false)
  /// The lease does not stand any more.
  case leaseLost
  /// The engine makes room first.
  case full
}

/// The right to load a key's value.
package struct CacheLease: Sendable, Hashable {
  /// Not zero.
  package var token: UInt64
  /// The epoch and the sequence when it was given.
  package var position: CachePosition
  package var duration: Duration

  package init(token: UInt64, position: CachePosition, duration: Duration) {
    self.token = token
    self.position = position
    self.duration = duration
  }
}

package struct CacheLeaseRequest: Sendable, Hashable {
  package var duration: Duration
  /// From which part of a fresh entry's time on one caller gets a lease beside it; 1: none does.
  package var refreshAfter: Double

  package init(duration: Duration, refreshAfter: Double = 1) {
    self.duration = duration
    self.refreshAfter = refreshAfter
  }
}

/// What came of asking for an entry or a lease.
package struct CacheLeaseOutcome: Sendable {
  /// A fresh one, or a stale one that is kept for who cannot load.
  package var entry: CacheEntry?
  package var isFresh: Bool
  /// The caller's to load it.
  package var lease: CacheLease?
  /// With neither a fresh entry nor a lease: for ``CacheEngine/wait(for:after:until:)``, and when the
  /// other's lease ends at the latest.
  package var ticket: UInt64
  package var leaseEnds: ContinuousClock.Instant?

  package init(
    entry: CacheEntry? = nil, isFresh: Bool = false, lease: CacheLease? = nil, ticket: UInt64 = 0,
    leaseEnds: ContinuousClock.Instant? = nil
  ) {
    self.entry = entry
    self.isFresh = isFresh
    self.lease = lease
    self.ticket = ticket
    self.leaseEnds = leaseEnds
  }
}

/// How much is in an engine.
package struct CacheMeasure: Sendable, Hashable {
  package enum Kind: Sendable, Hashable { case memory, redis, fallback }

  package var kind: Kind
  package var entries: UInt64
  package var memoryBytes: UInt64
  /// nil: no limit.
  package var memoryLimitBytes: UInt64?
  package var evictions: UInt64
  package var expirations: UInt64

  package init(
    kind: Kind, entries: UInt64, memoryBytes: UInt64, memoryLimitBytes: UInt64?,
    evictions: UInt64, expirations: UInt64
  ) {
    self.kind = kind
    self.entries = entries
    self.memoryBytes = memoryBytes
    self.memoryLimitBytes = memoryLimitBytes
    self.evictions = evictions
    self.expirations = expirations
  }
}
