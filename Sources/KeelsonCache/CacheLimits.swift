package import KeelsonAPI
package import KeelsonCacheRules

/// What the cache may hold and take. Each number is a default; the errors name the limit.
package struct CacheLimits: Sendable {
  /// Bytes of a value.
  package var valueBytes = 1 << 20
  /// Tags of an entry.
  package var tags = 16
  /// Keys, entries, or names of one call.
  package var batch = 1_000
  /// Bytes of the values of one batch.
  package var batchBytes = 4 << 20
  /// How long an entry may be fresh, and be kept after that.
  package var ttl: Duration = .seconds(30 * 86_400)
  /// What ``ttl`` may be at most, in milliseconds: 45 days. The memory engine counts lifetimes in
  /// milliseconds of 32 bits.
  package static let longestTTLMilliseconds = 45 * 86_400_000
  /// How old what a reader gets may be at most.
  package var staleness: Duration = .milliseconds(100)
  /// How long a lease may last at most.
  package var lease: Duration = .seconds(60)
  /// How long a call may wait for what another loads.
  package var wait: Duration = .seconds(60)
  /// Bytes that the memory engine may use.
  package var memoryBytes = 256 << 20
  /// Watches of invalidations.
  package var watches = 10_000
  /// Invalidations, and bytes of them, that a watch may be behind before it starts anew.
  package var invalidationsBehind = 10_000
  package var invalidationBytesBehind = 4 << 20
  /// When the circuit breaker in front of Redis opens and closes.
  package var breaker = CircuitBreaker.Settings()
  /// How long what is stored while Redis is away may be given out.
  package var fallbackTTL: Duration = .milliseconds(100)
  /// How long after a write of unknown outcome Redis may still carry it out: what is noted is put in
  /// order after that. Longer than Redis's timeout.
  package var outageSettling: Duration = .milliseconds(300)
  /// Writes that are remembered while Redis is away; beyond it everything in Redis becomes void on
  /// return.
  package var outageLog = 10_000
  /// Bytes of the reason for a flush.
  package var reasonBytes = 1_024
  /// Watches of the statistics.
  package var statisticsWatches = 100
  /// Warm sets, and the entries and the bytes of one.
  package var warmSets = 1_000
  package var warmSetEntries = 10_000
  package var warmSetBytes = 4_095 << 10
  /// Bytes of a warm set's description.
  package var descriptionBytes = 4_096
  /// Warm sets that are being loaded, and watches of that.
  package var warmRuns = 4
  package var warmWatches = 100
  /// Runs of a warm set that are remembered, those that load among them.
  package var warmRunHistory = 20
  /// How long a server that loads a warm set may not be heard of before its run is lost.
  package var warmLease: Duration = .seconds(10)
  /// How long the GET of a warm set's value may take.
  package var warmTimeout: Duration = .seconds(10)
  /// Pages of lists.
  package var pages = PageLimits(defaultSize: 50)
  /// How often the statistics are told of as an event.
  package var statisticsInterval: Duration = .seconds(60)
  package var view = InvalidationView.Limits()

  package init() {}
}
