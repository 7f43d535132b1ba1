import Glibc
import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson cache top`: how the cache is used, again and again.
enum CacheTopCommand {
  static let command = Command(
    name: "top", summary: "Show how the cache is used now, again and again, until Ctrl-C",
    discussion: "On a terminal it is drawn over; elsewhere there is a line each time.",
    options: [
      .init(
        name: "interval", value: "TIME", help: "How often: 100ms to 1h.", defaultValue: "1s"),
      .init(
        name: "hottest", value: "N", help: "How many of the hottest keys: 0 to 100.",
        defaultValue: "10"),
    ] + Session.streamOptions
  ) { invocation in
    var request = KeelsonCacheV1.WatchStatisticsRequest()
    request.interval = try JobOptions.duration("interval", invocation).map { .init($0) }
    request.hottest = try invocation.integer("hottest") ?? 10
    try await Session.run(invocation) { [request] session in
      let terminal = session.output.format == .table ? Terminal(STDOUT_FILENO) : nil
      // Ctrl-C leaves its `^C` there.
      defer { terminal?.clearLine() }
      try await session.untilInterrupted {
        try await session.requireServer()
        try await session.overLosses {
          var last: KeelsonCacheV1.CacheStatistics?
          for try await statistics in session.client.cache.service.watchStatistics(
            request, options: $0)
          {
            let rates = CacheRates(from: last, to: statistics)
            last = statistics
            if let terminal {
              try terminal.draw(statistics.screen(rates))
            } else {
              try session.output.show(statistics, statistics.line(rates))
            }
          }
        }
      }
    }
  }
}

/// What has happened between two statistics, each second.
struct CacheRates: Sendable, Hashable {
  var gets = 0.0
  var sets = 0.0
  var invalidations = 0.0
  var evictions = 0.0
  /// Of the gets, those that were hits; nil without gets.
  var hitRatio: Double?

  /// - Parameter from: nil: nothing is known yet.
  init(
    from earlier: KeelsonCacheV1.CacheStatistics?, to later: KeelsonCacheV1.CacheStatistics
  ) {
    guard let earlier, let start = earlier.time?.microseconds,
      let end = later.time?.microseconds, end > start,
      // Another server, or the same one started anew.
      earlier.startTime == later.startTime
    else { return }
    let seconds = Double(end - start) / 1e6
    func rate(_ count: (KeelsonCacheV1.CacheStatistics) -> UInt64) -> Double {
      let (before, after) = (count(earlier), count(later))
      return after > before ? Double(after - before) / seconds : 0
    }
    let hits = rate { $0.hits + $0.nearHits }
    gets = hits + rate { $0.misses }
    sets = rate { $0.sets }
    invalidations = rate {
      $0.keyInvalidations + $0.tagInvalidations + $0.patternInvalidations
    }
    evictions = rate { $0.evictions }
    hitRatio = gets > 0 ? hits / gets : nil
  }
}

extension GoogleProtobuf.Timestamp {
  fileprivate var microseconds: Int64? { (try? unixTime)?.microseconds }
}
