import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import KeelsonTransport
import Testing

/// Engines of one test on one Redis, as of so many servers, each with loops of its own.
struct RedisTestEngines {
  let engines: [RedisCacheEngine]
  let url: String
  private let loops: [LoopGroup]

  private init(
    _ count: Int, url: String, limits: RedisConfiguration.Limits, logger: Logger
  ) async throws {
    self.url = url
    var configuration = RedisConfiguration(url: try RedisURL(url))
    configuration.limits = limits
    var loops: [LoopGroup] = []
    var engines: [RedisCacheEngine] = []
    for _ in 0..<count {
      let group = LoopGroup(count: 2)
      loops.append(group)
      engines.append(try RedisCacheEngine(configuration, loops: group, logger: logger))
    }
    self.loops = loops
    self.engines = engines
    do {
      for engine in engines { try await engine.start() }
    } catch {
      await close()
      throw error
    }
  }

  private func close() async {
    for engine in engines { await engine.close() }
    for group in loops { await group.stop() }
  }

  /// Runs a body with so many engines on a Redis.
  ///
  /// - Parameter url: nil: an empty database of the Redis that all tests share.
  static func run(
    _ count: Int = 1, on url: String? = nil,
    limits: RedisConfiguration.Limits = RedisConfiguration.Limits(), logger: Logger = .silent,
    _ body: (RedisTestEngines) async throws -> Void
  ) async throws {
    var place = url ?? ""
    if url == nil {
      let server = try await PrivateRedis.shared.value
      place = "\(server.url)/\(await server.nextDatabase())"
    }
    var limits = limits
    if limits.commandTimeout == RedisConfiguration.Limits().commandTimeout {
      // The machine is busy with tests.
      limits.commandTimeout = .seconds(5)
      limits.connectTimeout = .seconds(10)
      limits.stallTimeout = .seconds(10)
      limits.staleness = .seconds(5)
    }
    let engines = try await RedisTestEngines(
      count, url: place, limits: limits, logger: logger)
    do {
      try await body(engines)
    } catch {
      await engines.close()
      throw error
    }
    await engines.close()
  }

  subscript(_ index: Int) -> RedisCacheEngine { engines[index] }
}

let longLife = CacheLifetime(ttl: .seconds(3_600))

func write(
  _ key: String, _ text: String, tags: [String] = [], _ lifetime: CacheLifetime = longLife
) -> CacheWrite {
  CacheWrite(key: key, value: Array(text.utf8), tags: tags, lifetime: lifetime)
}

extension RedisCacheEngine {
  func text(_ key: String) async throws -> String? {
    try await get([key])[0].map { String(decoding: $0.value, as: UTF8.self) }
  }
}

/// Repeats until it works or is true: what comes back by itself. What never does fails by the time of
/// the test.
func eventually(_ work: () async throws -> Bool) async throws {
  while true {
    try Task.checkCancellation()
    do {
      if try await work() { return }
    } catch is CacheEngineError {
      // Not yet.
    }
    await Task.yield()
  }
}
