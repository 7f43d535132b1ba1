import KeelsonCache
import KeelsonCacheRules

extension ServerLimits {
  static let cache: [ServerLimit] = [
    size(
      "cache-memory", \.cache.memoryBytes, 1 << 20...1 << 37,
      "what entries in this process's memory may use", "others go for new ones"),
    size(
      "cache-value-size", \.cache.valueBytes, 1 << 10...16 << 20,
      "a cached value", "INVALID_ARGUMENT"),
    count("cache-tags", \.cache.tags, 0...64, "tags of an entry", "INVALID_ARGUMENT"),
    count(
      "cache-batch", \.cache.batch, 1...10_000,
      "keys or entries of one call, names of one invalidation", "INVALID_ARGUMENT"),
    size(
      "cache-batch-size", \.cache.batchBytes, 1 << 10...64 << 20,
      "the values of a batch together, either way",
      "INVALID_ARGUMENT; RESOURCE_EXHAUSTED for an answer"),
    duration(
      "cache-ttl", \.cache.ttl, 1_000...CacheLimits.longestTTLMilliseconds,
      "how long an entry may be fresh, and be kept stale after that", "INVALID_ARGUMENT"),
    duration(
      "cache-lease", \.cache.lease, 1_000...3_600_000,
      "how long loading under a lease may take", "longer ones are cut to it"),
    duration(
      "cache-wait", \.cache.wait, 0...3_600_000,
      "how long a call may wait for what another loads", "longer ones are cut to it"),
    duration(
      "cache-staleness", \.cache.staleness, 20...60_000,
      "how old what a reader gets may be", "it waits, or Redis counts as away"),
    count(
      "cache-watches", \.cache.watches, 1...1_000_000,
      "watches of invalidations", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "cache-invalidations-behind", \.cache.invalidationsBehind, 16...1_000_000,
      "invalidations a watch may be behind", "it starts anew"),
    size(
      "cache-invalidations-behind-size", \.cache.invalidationBytesBehind, 16 << 10...1 << 30,
      "their bytes", "it starts anew"),
    count(
      "cache-tag-generations", \.cache.view.tags, 100...200_000,
      "tags whose last invalidation is remembered", "entries older than the oldest are void"),
    count(
      "cache-pattern-bans", \.cache.view.bans, 1...10_000,
      "patterns that wait to be swept", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "cache-breaker-failures", \.cache.breaker.failures, 1...10_000,
      "failures of Redis one after the other", "the server's own memory takes its place"),
    duration(
      "cache-breaker-open", \.cache.breaker.openFor, 10...3_600_000,
      "how long Redis is left alone then", "it is tried again"),
    count(
      "cache-breaker-successes", \.cache.breaker.successes, 1...1_000,
      "tries that have to succeed one after the other", "Redis is used again"),
    duration(
      "cache-fallback-ttl", \.cache.fallbackTTL, 0...3_600_000,
      "how long what is stored while Redis is away may be given out", "it is loaded anew"),
    count(
      "cache-outage-log", \.cache.outageLog, 0...10_000_000,
      "writes remembered while Redis is away", "all in Redis is void on return"),
    count(
      "cache-statistics-watches", \.cache.statisticsWatches, 1...1_000_000,
      "watches of the statistics", "RESOURCE_EXHAUSTED with RetryInfo"),
    duration(
      "cache-statistics-interval", \.cache.statisticsInterval, 100...86_400_000,
      "time between two events with the statistics", "they are told later"),
    count("cache-warm-sets", \.cache.warmSets, 0...100_000, "warm sets", "RESOURCE_EXHAUSTED"),
    count(
      "cache-warm-set-entries", \.cache.warmSetEntries, 1...1_000_000,
      "entries of a warm set", "INVALID_ARGUMENT"),
    size(
      "cache-warm-set-size", \.cache.warmSetBytes, 1 << 10...64 << 20,
      "a warm set", "INVALID_ARGUMENT"),
    count(
      "cache-warm-runs", \.cache.warmRuns, 1...1_000,
      "warm sets that a server loads at a time", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "cache-warm-watches", \.cache.warmWatches, 1...1_000_000,
      "watches of that", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "cache-warm-run-history", \.cache.warmRunHistory, 1...10_000,
      "runs of a warm set that are kept", "the oldest is forgotten"),
    duration(
      "cache-warm-lease", \.cache.warmLease, 1_000...3_600_000,
      "how long a server that loads a warm set may not be heard of", "the run is lost"),
    duration(
      "cache-warm-timeout", \.cache.warmTimeout, 10...58_000,
      "the GET of a warm set's value", "the entry has failed"),
  ]
}
