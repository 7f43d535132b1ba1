public import KeelsonAPI
import KeelsonCacheRules
public import KeelsonCore

/// A cache that the whole fleet shares, with copies in this process.
///
/// ```swift
/// let account = try await keelson.cache.remember(
///   "acme:accounting:account:\(id)", ttl: Cache.long, tags: ["account"]
/// ) {
///   try await database.account(id)
/// }
/// ```
///
/// A key is `{tenant}:{module}:{entity}:{id}`. Bytes (`[UInt8]`, `Data`) are stored as they are, all
/// other values as JSON. What a reader is given was true less than 100 ms ago.
public struct Cache: Sendable {
  /// 1 minute: what changes often.
  public static let short: Duration = .seconds(60)
  /// 5 minutes, which is what the server takes when nothing is said.
  public static let medium: Duration = .seconds(300)
  /// 1 hour.
  public static let long: Duration = .seconds(3_600)
  /// 24 hours.
  public static let day: Duration = .seconds(86_400)
  /// 7 days.
  public static let week: Duration = .seconds(604_800)

  /// Every call of the service as it is, for what is not below.
  public let service: KeelsonCacheV1.CacheServiceClient
  let core: CacheCore

  init(core: CacheCore) {
    self.core = core
    service = core.service
  }

  /// How this process uses the cache.
  public var status: CacheStatus { core.status }

  /// How the server's cache is used by all, and how full it is.
  ///
  /// - Parameter hottest: how many of the hottest keys, 0 to 100.
  public func statistics(
    hottest: Int32 = 10, options: CallOptions = CallOptions()
  ) async throws -> KeelsonCacheV1.CacheStatistics {
    try await service.getStatistics(.init(hottest: hottest), options: options)
  }

  // MARK: Reading

  /// What is stored under a key; nil when there is nothing, or only the word that there is none.
  ///
  /// An answer that took so long that it may be out of date is asked for again, as is one that became
  /// void on its way, twice at most. The last is given: it was true when it was asked for.
  ///
  /// - Throws: ``RPCError``; `DecodingError` when it is no such value.
  public func get<Value: Codable & Sendable>(
    _ key: String, as type: Value.Type = Value.self, options: CallOptions = CallOptions()
  ) async throws -> Value? {
    if let copy = core.look(key)?.value {
      if let present = copy as? NearPresent<Value> { return present.value }
      if copy is NearAbsent { return nil }
    }
    let ticket = core.near.begin(key)
    defer { core.near.end(ticket) }
    for attempt in 1...CacheCore.attempts {
      let asked = CacheInstant.now
      let answer = try await service.getEntry(.init(key: key), options: options)
      guard let entry = answer.entry else { break }
      switch core.near.judge(key, core.provenance(of: entry, answer.epoch, asked: asked)) {
      case .current: break
      case .late, .overtaken: if attempt < CacheCore.attempts { continue }
      case .void: continue
      }
      core.count { $0.hits += 1 }
      guard !entry.absent else {
        core.keep(NearAbsent(), of: entry, epoch: answer.epoch, ticket)
        return nil
      }
      let value = try CacheCoding.decode(entry.value, as: type)
      core.keep(NearPresent(value), of: entry, epoch: answer.epoch, ticket)
      return value
    }
    core.count { $0.misses += 1 }
    return nil
  }

  // MARK: Writing

  /// Stores a value in place of what is there. Use ``remember(_:ttl:tags:policy:load:)`` for what was
  /// loaded from somewhere: an invalidation meanwhile would be lost here.
  ///
  /// - Parameters:
  ///   - ttl: 1 ms to 30 days; nil: 5 minutes.
  ///   - tags: at most 16.
  /// - Returns: whether it is stored: not while the cache makes room; then nothing is there.
  /// - Throws: ``RPCError``: INVALID_ARGUMENT says what is wrong. `EncodingError`.
  @discardableResult
  public func set<Value: Codable & Sendable>(
    _ key: String, _ value: Value, ttl: Duration? = nil, tags: [String] = [],
    policy: CachePolicy? = nil, options: CallOptions = CallOptions()
  ) async throws -> Bool {
    let policy = policy ?? core.configuration.policy
    var request = KeelsonCacheV1.SetEntryRequest()
    request.key = key
    request.value = try CacheCoding.encode(value)
    request.tags = tags
    request.lifetime = policy.lifetime(ttl)
    let ticket = core.near.begin(key)
    defer { core.near.end(ticket) }
    // What is loaded now may be older. When the call fails it may have been done all the same.
    defer { core.flights.close([key]) }
    let answer = try await service.setEntry(request, options: options)
    guard answer.stored else {
      // What was there is gone. The answer does not say at which place in the order.
      core.near.dropped(key)
      return false
    }
    core.voided([key], at: CachePosition(epoch: answer.epoch, sequence: answer.stamp))
    core.keep(
      NearPresent(value), of: .init(storing: request, stamp: answer.stamp, policy),
      epoch: answer.epoch, ticket)
    return true
  }

  /// Takes an entry out.
  ///
  /// - Returns: whether it was there.
  @discardableResult
  public func delete(_ key: String, options: CallOptions = CallOptions()) async throws -> Bool {
    try await delete([key], options: options).first ?? false
  }

  /// Takes entries out, 1 to 1,000.
  ///
  /// - Returns: for each key, whether it was there.
  @discardableResult
  public func delete(
    _ keys: [String], options: CallOptions = CallOptions()
  ) async throws -> [Bool] {
    defer { core.flights.close(keys) }
    let answer = try await service.deleteEntries(.init(keys: keys), options: options)
    core.voided(keys, at: CachePosition(epoch: answer.epoch, sequence: answer.sequence))
    return answer.found
  }

  /// Lets an entry live on from now, without sending its value. Copies in processes keep the
  /// end that they have, also where it is later than the new one.
  ///
  /// - Returns: whether it was there.
  @discardableResult
  public func touch(
    _ key: String, ttl: Duration? = nil, policy: CachePolicy? = nil,
    options: CallOptions = CallOptions()
  ) async throws -> Bool {
    var request = KeelsonCacheV1.TouchEntriesRequest()
    request.keys = [key]
    request.lifetime = (policy ?? core.configuration.policy).lifetime(ttl)
    return try await service.touchEntries(request, options: options).found.first ?? false
  }

  /// Makes entries void: no reader of any process gets them 100 ms after this has returned, none of
  /// this process at once.
  ///
  /// - Parameters:
  ///   - tags: entries that have any of these.
  ///   - patterns: entries whose key matches: `*` stands for any run of characters, `?` for one.
  ///   - allowsAll: has to be true for a pattern that matches every key.
  /// - Throws: ``RPCError``: UNAVAILABLE when it could not be recorded for all; then call again.
  public func invalidate(
    keys: [String] = [], tags: [String] = [], patterns: [String] = [], allowsAll: Bool = false,
    options: CallOptions = CallOptions()
  ) async throws {
    defer {
      if tags.isEmpty, patterns.isEmpty {
        core.flights.close(keys)
      } else {
        // Whether one of these concerns it, a flight does not know before it ends.
        core.flights.closeAll()
      }
    }
    let answer = try await service.invalidateEntries(
      .init(keys: keys, tags: tags, patterns: patterns, allowAll: allowsAll), options: options)
    let position = CachePosition(epoch: answer.epoch, sequence: answer.sequence)
    core.voided(keys, at: position)
    core.voided(tags: tags, patterns: patterns, at: position)
  }
}

extension CachePolicy {
  func lifetime(_ ttl: Duration?) -> KeelsonCacheV1.Lifetime {
    var lifetime = KeelsonCacheV1.Lifetime()
    lifetime.ttl = ttl.map { .init($0) }
    lifetime.jitter = jitter
    if staleLimit > .zero { lifetime.staleFor = .init(staleLimit) }
    return lifetime
  }
}

extension KeelsonCacheV1.Entry {
  /// What was stored by a request, as its reader would get it. The server may have shortened its time
  /// by the jitter.
  init(
    storing request: KeelsonCacheV1.SetEntryRequest, stamp: UInt64, _ policy: CachePolicy
  ) {
    self.init()
    value = request.value
    absent = request.absent
    tags = request.tags
    self.stamp = stamp
    ttl = request.lifetime?.ttl ?? .init(Cache.medium)
    let longest = ttl?.clampedDuration ?? .zero
    freshFor = .init(longest * (1 - min(max(0, policy.jitter), 0.5)))
  }
}
