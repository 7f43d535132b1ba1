import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore

/// What the requests of the cache may say.
struct CacheValidation: Sendable {
  let limits: CacheLimits

  func checkKey(_ key: String, field: @autoclosure () -> String) throws {
    guard let problem = CacheKey.problem(key) else { return }
    throw RPCError.invalidArgument(field: field(), problem)
  }

  /// - Parameter isDistinct: whether none may be named twice.
  func checkKeys(_ keys: [String], isDistinct: Bool = false, field: String = "keys") throws {
    guard (1...limits.batch).contains(keys.count) else {
      throw RPCError.invalidArgument(
        field: field, "has \(keys.count) keys; 1 to \(limits.batch) are allowed ('cache-batch')")
    }
    for (index, key) in keys.enumerated() { try checkKey(key, field: "\(field)[\(index)]") }
    guard !isDistinct || Set(keys.lazy.map(BytewiseKey.init)).count == keys.count else {
      throw RPCError.invalidArgument(field: field, "names a key twice")
    }
  }

  func checkTags(_ tags: [String], field: @autoclosure () -> String) throws {
    guard !tags.isEmpty else { return }
    guard tags.count <= limits.tags else {
      throw RPCError.invalidArgument(
        field: field(), "has \(tags.count) tags; \(limits.tags) are allowed ('cache-tags')")
    }
    for (index, tag) in tags.enumerated() {
      if let problem = CacheKey.tagProblem(tag) {
        throw RPCError.invalidArgument(field: "\(field())[\(index)]", problem)
      }
    }
  }

  func write(_ request: KeelsonCacheV1.SetEntryRequest, prefix: String = "") throws -> CacheWrite {
    try checkKey(request.key, field: prefix + "key")
    guard request.value.count <= limits.valueBytes else {
      throw RPCError.invalidArgument(
        field: prefix + "value",
        "has \(request.value.count) bytes; \(limits.valueBytes) are allowed ('cache-value-size')")
    }
    guard !request.absent || request.value.isEmpty else {
      throw RPCError.invalidArgument(
        field: prefix + "value", "must be empty where 'absent' says that there is none")
    }
    try checkTags(request.tags, field: prefix + "tags")
    return CacheWrite(
      key: request.key, value: request.value, isAbsent: request.absent, tags: request.tags,
      lifetime: try lifetime(request.lifetime, field: prefix + "lifetime"))
  }

  /// The lifetime that is meant, jitter taken off.
  func lifetime(_ given: KeelsonCacheV1.Lifetime?, field: String) throws -> CacheLifetime {
    guard let given else {
      return CacheLifetime(ttl: jittered(min(Self.medium, limits.ttl), by: Self.defaultJitter))
    }
    let ttl: Duration
    if let duration = given.ttl {
      guard given.preset == .ttlPresetUnspecified else {
        throw RPCError.invalidArgument(
          field: "\(field).preset", "may not be given together with 'ttl'")
      }
      ttl = try duration.duration
      guard ttl >= .milliseconds(1), ttl <= limits.ttl else {
        throw RPCError.invalidArgument(
          field: "\(field).ttl",
          "is \(ttl); 1 ms to \(limits.ttl) are allowed ('cache-ttl')"
            + (ttl <= .zero ? "; an entry is taken out with DeleteEntries" : ""))
      }
    } else {
      // A preset is as long as it may be.
      ttl = min(try preset(given.preset, field: "\(field).preset"), limits.ttl)
    }
    let jitter = given.jitter ?? Self.defaultJitter
    guard (0...0.5).contains(jitter) else {
      throw RPCError.invalidArgument(field: "\(field).jitter", "is \(jitter), not from 0 to 0.5")
    }
    let staleFor = try given.staleFor?.duration ?? .zero
    guard staleFor >= .zero, staleFor <= limits.ttl else {
      throw RPCError.invalidArgument(
        field: "\(field).stale_for", "is \(staleFor); 0 to \(limits.ttl) are allowed ('cache-ttl')")
    }
    return CacheLifetime(ttl: jittered(ttl, by: jitter), staleFor: staleFor)
  }

  static let defaultJitter = 0.1
  private static let unevenness = Unevenness()
  private static let medium: Duration = .seconds(300)

  private func preset(_ preset: KeelsonCacheV1.TTLPreset, field: String) throws -> Duration {
    switch preset {
    case .ttlPresetUnspecified, .ttlPresetMedium: return Self.medium
    case .ttlPresetShort: return .seconds(60)
    case .ttlPresetLong: return .seconds(3_600)
    case .ttlPresetDay: return .seconds(86_400)
    case .ttlPresetWeek: return .seconds(7 * 86_400)
    case .unrecognized(let number):
      throw RPCError.invalidArgument(field: field, "\(number) is no preset")
    }
  }

  private func jittered(_ ttl: Duration, by part: Double) -> Duration {
    guard part > 0 else { return ttl }
    return max(.milliseconds(1), ttl * (1 - part * Self.unevenness.next()))
  }

  func lease(_ given: KeelsonCacheV1.Lease, field: String) throws -> CacheLease {
    guard given.token != 0, given.epoch != 0 else {
      throw RPCError.invalidArgument(
        field: field, "has no token or no epoch; send the lease as GetOrLease gave it")
    }
    return CacheLease(
      token: given.token, position: CachePosition(epoch: given.epoch, sequence: given.stamp),
      duration: given.duration?.clampedDuration ?? .zero)
  }

  /// A time that is cut to the limit when it is longer; `byDefault` when none was given. So that a limit
  /// that is set lower breaks no client.
  func time(
    _ given: GoogleProtobuf.Duration?, byDefault: Duration, atLeast least: Duration,
    cutTo limit: Duration, field: String
  ) throws -> Duration {
    let duration = try given?.duration ?? byDefault
    guard duration >= least else {
      throw RPCError.invalidArgument(field: field, "is \(duration); it is \(least) at least")
    }
    return min(duration, limit)
  }

  /// A time within bounds; `byDefault` when none was given.
  func time(
    _ given: GoogleProtobuf.Duration?, byDefault: Duration, within range: ClosedRange<Duration>,
    field: String
  ) throws -> Duration {
    guard let given else { return byDefault }
    let duration = try given.duration
    guard range.contains(duration) else {
      throw RPCError.invalidArgument(
        field: field, "is \(duration); \(range.lowerBound) to \(range.upperBound) are allowed")
    }
    return duration
  }
}
