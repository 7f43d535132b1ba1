import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import Synchronization

/// The warm sets: entries that are loaded into the cache together. Source: SYS-113.
package final class WarmSets: Sendable {
  typealias API = KeelsonCacheV1

  /// What loads values by URL.
  package struct Source: Sendable {
    package var source: any WarmSource
    package var origins: Set<WarmOrigin>

    /// - Parameter origins: those that may be called.
    package init(_ source: any WarmSource, origins: Set<WarmOrigin>) {
      self.source = source
      self.origins = origins
    }

    /// No URL at all.
    package static let none = Source(NoWarmSource(), origins: [])
  }

  let database: any Database
  let limits: CacheLimits
  let validation: WarmSetValidation
  let runs: WarmRuns
  private let engine: any CacheEngine
  private let logger: Logger
  let watches = Mutex(0)

  /// How often it is looked whether Redis and the database are there, before sets are loaded on start.
  private static let readyInterval: Duration = .seconds(1)

  /// - Parameter isShared: whether the engine is that of all servers of the database.
  init(
    database: any Database, engine: any CacheEngine, isShared: Bool, source: Source,
    counters: CacheCounters, announcer: CacheAnnouncer, limits: CacheLimits, logger: Logger
  ) {
    self.database = database
    self.engine = engine
    self.limits = limits
    self.logger = logger
    let cache = CacheValidation(limits: limits)
    validation = WarmSetValidation(cache, origins: source.origins)
    runs = WarmRuns(
      database: database,
      loader: WarmLoader(
        engine: engine, source: source.source, origins: source.origins, validation: cache,
        counters: counters, announcer: announcer),
      isShared: isShared, limits: limits, logger: logger)
  }

  // MARK: Life

  /// Loads the sets that are loaded on start, one after the other, once the engine serves, and looks
  /// after the runs of servers that have died, until the task is cancelled and all runs of this one
  /// have ended.
  func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.loadOnStart() }
      while !Task.isCancelled {
        await runs.sweep()
        try? await Task.sleep(for: limits.warmLease)
      }
    }
    runs.stop()
    await runs.end()
  }

  /// Ends the runs and lets no more begin.
  func stop() {
    runs.stop()
  }

  func loadOnStart() async {
    do {
      let names = try await readWhenThere { try await WarmSetRepository.namesOnStart(in: $0) }
      guard !names.isEmpty else { return }
      try await waitForEngine()
      for name in names { try await loadOnStart(name) }
    } catch is CancellationError {
      return
    } catch {
      logger.log(.error, "The warm sets were not loaded on start.", ["error": "\(error)"])
    }
  }

  /// One that cannot be loaded is told of, and keeps no other from being loaded.
  private func loadOnStart(_ name: String) async throws(CancellationError) {
    do {
      try Task.checkCancellation()
      let set = try await readWhenThere { try await WarmSetRepository.set(name, in: $0) }
      // It may be gone, or not meant to be loaded any more.
      guard let set, set.onStart else { return }
      let run = try await whenThere {
        try await self.runs.start(name, origin: .system(), isOnStart: true)
      }
      try await runs.follow(run) { _ in }
    } catch let error as CancellationError {
      throw error
    } catch let error as RPCError where error.code == .unavailable {
      // The server stops.
    } catch {
      logger.log(
        .error, "A warm set was not loaded on start.", ["warm_set": name, "error": "\(error)"])
    }
  }

  private func readWhenThere<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    try await whenThere { try await self.database.read(body) }
  }

  /// A database that is away, or has too much to do, is asked again.
  private func whenThere<Result: Sendable>(
    _ body: () async throws -> Result
  ) async throws -> Result {
    while true {
      do {
        return try await body()
      } catch let error as StoreError where Self.passing.contains(error.code) {
        logger.log(
          .warning, "Warm sets wait for the database, to be loaded on start.",
          ["cause": "\(error)"])
        try await Task.sleep(for: Self.readyInterval)
      }
    }
  }

  /// What goes by itself.
  static let passing: Set<StoreError.Code> = [.unreachable, .busy, .timedOut, .overloaded]

  /// What is stored while Redis is away is soon gone.
  private func waitForEngine() async throws {
    while true {
      if let measure = try? await engine.measure(), measure.kind != .fallback { return }
      try await Task.sleep(for: Self.readyInterval)
    }
  }
}

/// For servers that may call no origin.
private struct NoWarmSource: WarmSource {
  func fetch(_ url: String) async throws(WarmSourceFailure) -> [UInt8] {
    throw WarmSourceFailure("this server loads nothing by URL")
  }
}
