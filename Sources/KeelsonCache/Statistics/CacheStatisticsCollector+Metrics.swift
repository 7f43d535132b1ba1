import KeelsonCacheRules
package import KeelsonCore

extension CacheStatisticsCollector {
  /// For Prometheus: what this server has counted, and what the engine held at the last look.
  package var metricFamilies: [MetricFamily] {
    CacheCounters.Count.allCases.map { count in
      let (name, help) = count.metric
      return MetricFamily(name, .counter, help, [.init(Int64(clamping: counters[count]))])
    } + (lastMeasure.map(Self.families) ?? [])
  }

  private static func families(of measure: CacheMeasure) -> [MetricFamily] {
    func sample(_ value: UInt64) -> [MetricFamily.Sample] { [.init(Int64(clamping: value))] }
    var families = [
      MetricFamily(
        "keelson_cache_entries", .gauge, "Entries in the engine.", sample(measure.entries)),
      MetricFamily(
        "keelson_cache_memory_bytes", .gauge, "Memory that the engine uses.",
        sample(measure.memoryBytes)),
      MetricFamily(
        "keelson_cache_evictions_total", .counter, "Entries that had to go for others.",
        sample(measure.evictions)),
      MetricFamily(
        "keelson_cache_expirations_total", .counter, "Entries whose time was over.",
        sample(measure.expirations)),
      MetricFamily(
        "keelson_cache_fallback", .gauge,
        "1 while this server answers from its own memory in place of Redis.",
        sample(measure.kind == .fallback ? 1 : 0)),
    ]
    if let limit = measure.memoryLimitBytes {
      families.append(
        MetricFamily(
          "keelson_cache_memory_limit_bytes", .gauge, "Memory that the engine may use.",
          sample(limit)))
    }
    return families
  }
}

extension CacheCounters.Count {
  /// The name and the help of what Prometheus reads.
  fileprivate var metric: (name: String, help: String) {
    switch self {
    case .hits: ("keelson_cache_hits_total", "Gets that found a fresh entry.")
    case .misses: ("keelson_cache_misses_total", "Gets that found none.")
    case .nearHits:
      ("keelson_cache_near_hits_total", "Gets that clients answered from their copies.")
    case .sets: ("keelson_cache_sets_total", "Entries that were stored.")
    case .setsRefused:
      (
        "keelson_cache_sets_refused_total",
        "Values that were not stored: the lease was lost, or the engine was full."
      )
    case .leases: ("keelson_cache_leases_total", "Leases that were given to load a value.")
    case .leaseWaits:
      ("keelson_cache_lease_waits_total", "Calls that waited for what another loads.")
    case .keyInvalidations:
      ("keelson_cache_key_invalidations_total", "Keys that were invalidated here.")
    case .tagInvalidations:
      ("keelson_cache_tag_invalidations_total", "Tags that were invalidated here.")
    case .patternInvalidations:
      ("keelson_cache_pattern_invalidations_total", "Patterns that were invalidated here.")
    case .flushes: ("keelson_cache_flushes_total", "Times that the cache was flushed here.")
    case .fallbacks:
      (
        "keelson_cache_fallbacks_total", "Times that this server fell back to its own memory."
      )
    }
  }
}
