import KeelsonAPI
import KeelsonCore

extension KeelsonCacheV1.Entry {
  func sheet(_ key: String) -> String {
    var sheet = Sheet()
    sheet.add("key", key)
    sheet.add("value", absent ? "none: a negative entry" : value.text)
    sheet.add("tags", tags.joined(separator: ", "))
    sheet.add("fresh for", freshFor.map { "\($0.clampedDuration)" } ?? "")
    sheet.add("of", ttl.map { "\($0.clampedDuration)" } ?? "")
    sheet.add("stamp", "\(stamp)")
    return sheet.text
  }
}

extension [UInt8] {
  /// Text if it is any, and not too long for a line.
  fileprivate var text: String {
    guard count <= 4_096, let text = String(validating: self, as: UTF8.self) else {
      return "\(BatchProgress.grouped(count)) bytes; --value prints them"
    }
    return text
  }
}

extension KeelsonCacheV1.WatchInvalidationsResponse {
  /// What people see of it; nil: nothing.
  var line: String? {
    switch event {
    case .start(let start):
      "From invalidation \(start.sequence) on"
        + (start.fallback ? ", of this server's own memory: Redis is away." : ".")
    case .invalidation(let invalidation): invalidation.line
    case .pong, nil: nil
    }
  }
}

extension KeelsonCacheV1.Invalidation {
  fileprivate var line: String {
    var parts = ["\(sequence)"]
    if all { parts.append("everything") }
    for (word, names) in [("key", keys), ("tag", tags), ("pattern", patterns)] {
      parts += names.map { "\(word) \($0)" }
    }
    return parts.joined(separator: "  ").printable()
  }
}

extension KeelsonCacheV1.CacheEngineKind {
  var word: String {
    switch self {
    case .memory: "memory"
    case .redis: "Redis"
    case .fallback: "this server's own memory, in place of Redis"
    default: "unknown"
    }
  }
}

extension KeelsonCacheV1.CacheStatistics {
  private static func percent(_ ratio: Double?) -> String {
    ratio.map { "\((($0 * 1_000).rounded() / 10))%" } ?? "-"
  }

  private static func grouped(_ number: UInt64) -> String {
    BatchProgress.grouped(Int(clamping: number))
  }

  /// Mebibytes, with one decimal.
  private static func mebibytes(_ bytes: UInt64) -> String {
    "\((Double(bytes) / 104_857.6).rounded() / 10) MiB"
  }

  private static func rate(_ rate: Double) -> String {
    rate >= 10 ? "\(BatchProgress.grouped(Int(rate)))/s" : "\((rate * 10).rounded() / 10)/s"
  }

  private var memory: String {
    Self.mebibytes(memoryBytes)
      + (memoryLimitBytes.map { " of \(Self.mebibytes($0))" } ?? "")
  }

  var sheet: String {
    var sheet = Sheet()
    sheet.add("engine", engine.word)
    sheet.add("since", startTime.text)
    sheet.add("hit ratio", Self.percent(hitRatio))
    sheet.add("hits", Self.grouped(hits))
    sheet.add("near hits", Self.grouped(nearHits))
    sheet.add("misses", Self.grouped(misses))
    sheet.add("sets", Self.grouped(sets))
    sheet.add("refused", setsRefused == 0 ? "" : Self.grouped(setsRefused))
    sheet.add("leases", Self.grouped(leases))
    sheet.add("waited for", Self.grouped(leaseWaits))
    sheet.add(
      "invalidations",
      "\(Self.grouped(keyInvalidations)) by key, \(Self.grouped(tagInvalidations)) by tag, "
        + "\(Self.grouped(patternInvalidations)) by pattern, \(Self.grouped(flushes)) flushes")
    sheet.add("evictions", Self.grouped(evictions))
    sheet.add("expirations", Self.grouped(expirations))
    sheet.add("fallbacks", fallbacks == 0 ? "" : Self.grouped(fallbacks))
    sheet.add("entries", Self.grouped(entries))
    sheet.add("memory", memory)
    sheet.add("watchers", Self.grouped(watchers))
    sheet.add("sequence", "\(sequence)")
    return sheet.text + hottest
  }

  private var hottest: String {
    guard !hottestKeys.isEmpty else { return "" }
    // Keys may be long: a screen cuts off what is at their end.
    var table = Table("GETS", "KEY")
    for hot in hottestKeys { table.add("~\(Self.grouped(hot.count))", hot.key) }
    return "\n\n" + table.text
  }

  /// One line for a log.
  func line(_ rates: CacheRates) -> String {
    "\(time.text)  gets \(Self.rate(rates.gets))  hits \(Self.percent(rates.hitRatio))  "
      + "sets \(Self.rate(rates.sets))  invalidations \(Self.rate(rates.invalidations))  "
      + "entries \(Self.grouped(entries))  \(memory)"
  }

  /// A screen.
  func screen(_ rates: CacheRates) -> String {
    var sheet = Sheet()
    sheet.add("time", time.text)
    sheet.add("engine", engine.word)
    sheet.add("gets", "\(Self.rate(rates.gets))")
    sheet.add(
      "hit ratio",
      "\(Self.percent(rates.hitRatio)) now, \(Self.percent(hitRatio)) since \(startTime.text)")
    sheet.add("sets", Self.rate(rates.sets))
    sheet.add("invalidations", Self.rate(rates.invalidations))
    sheet.add("evictions", Self.rate(rates.evictions))
    sheet.add("entries", Self.grouped(entries))
    sheet.add("memory", memory)
    sheet.add("watchers", Self.grouped(watchers))
    return sheet.text + hottest
  }
}

extension KeelsonCacheV1.WarmSet {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("name", name)
    sheet.add("description", description)
    sheet.add("entries", "\(max(Int(entryCount), entries.count))")
    sheet.add("on start", onStart ? "yes" : "no")
    sheet.add("at a time", concurrency == 0 ? "" : "\(concurrency)")
    sheet.add("created", createTime.text)
    sheet.add("updated", updateTime.text)
    sheet.add("etag", etag)
    guard !entries.isEmpty else { return sheet.text }
    var table = Table("KEY", "FROM", "TAGS", "TTL")
    for entry in entries {
      table.add(
        entry.key, entry.origin, entry.tags.joined(separator: ","),
        entry.lifetime?.ttl.map { "\($0.clampedDuration)" } ?? "")
    }
    return sheet.text + "\n\n" + table.text
  }
}

extension KeelsonCacheV1.WarmEntry {
  fileprivate var origin: String {
    switch source {
    case .url(let url): url
    case .value(let bytes): "\(bytes.count) bytes"
    case nil: ""
    }
  }
}

extension KeelsonCacheV1.ListWarmSetsResponse {
  var table: String {
    guard !warmSets.isEmpty else { return "No warm sets." }
    var table = Table("NAME", "ENTRIES", "ON START", "UPDATED", "DESCRIPTION")
    for set in warmSets {
      table.add(
        set.name, "\(set.entryCount)", set.onStart ? "yes" : "no", set.updateTime.text,
        set.description)
    }
    return table.text
  }
}

extension KeelsonCacheV1.ListWarmSetRunsResponse {
  var table: String {
    guard !runs.isEmpty else { return "No runs." }
    var table = Table("WARM SET", "RUN", "STARTED", "ENDED", "BY", "STATE", "LOADED", "FAILED")
    for run in runs {
      table.add(
        run.warmSet, run.id, run.startTime.text, run.endTime.text, run.actor, run.word,
        "\(run.loaded) of \(run.total)", "\(run.failed)")
    }
    return table.text
  }
}

extension KeelsonCacheV1.WarmSetRun {
  fileprivate var word: String {
    switch state {
    case .running: "runs"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    case .lost: "lost"
    default: "\(state.rawValue)"
    }
  }

  var line: String {
    "\(warmSet) \(word): \(loaded) of \(total) loaded" + (failed > 0 ? ", \(failed) failed" : "")
  }

  /// The same, and why entries failed.
  var text: String {
    ([line] + errors.map { "  \($0)" }).joined(separator: "\n").printable(keepsLines: true)
  }
}
