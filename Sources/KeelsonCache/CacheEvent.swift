package import KeelsonAuditTrail
package import KeelsonCacheRules
import KeelsonCore
package import KeelsonStore

/// The events of this service. Source: SYS-111 to SYS-115.
enum CacheEvent: String, Sendable {
  case flushed = "keelson.cache.CacheFlushed"
  case warmingStarted = "keelson.cache.CacheWarmingStarted"
  case warmingCancelled = "keelson.cache.CacheWarmingCancelled"
  case warmed = "keelson.cache.CacheWarmed"
  case fallbackActivated = "keelson.cache.CacheFallbackActivated"
  case fallbackEnded = "keelson.cache.CacheFallbackEnded"
  case warmSetCreated = "keelson.cache.CacheWarmSetCreated"
  case warmSetUpdated = "keelson.cache.CacheWarmSetUpdated"
  case warmSetDeleted = "keelson.cache.CacheWarmSetDeleted"

  /// Told to whoever listens, and not kept: too many.
  static let entryAdded = "keelson.cache.CacheEntryAdded"
  static let invalidated = "keelson.cache.CacheInvalidated"
  static let statisticsCollected = "keelson.cache.CacheStatisticsCollected"
}

/// Tells of what happens in the cache, to who listens.
package struct CacheAnnouncer: Sendable {
  private let telemetry: TelemetryEvents

  /// Of many names at once, so many are told.
  private static let namesTold = 100

  package init(_ telemetry: TelemetryEvents) {
    self.telemetry = telemetry
  }

  /// An entry was stored. Costs an atomic load while nobody listens to any telemetry.
  package func added(
    _ write: CacheWrite, at position: CachePosition, isLocal: Bool = false,
    origin: @autoclosure () -> ChangeOrigin
  ) {
    telemetry.publish(type: CacheEvent.entryAdded) {
      var data: [String: JSONValue] = [
        "key": .string(write.key), "bytes": .number(Double(write.value.count)),
        "tags": .array(write.tags.map { .string($0) }),
        "ttl_seconds": .number(write.lifetime.ttl / .seconds(1)),
        "stamp": .string(String(position.sequence)),
      ]
      if write.isAbsent { data["absent"] = true }
      if isLocal { data["fallback"] = true }
      return TelemetryEvent(
        type: CacheEvent.entryAdded, subject: write.key, data: JSONText(.object(data)),
        origin: origin())
    }
  }

  /// Something was made void.
  package func invalidated(
    _ scope: Invalidation.Scope, at position: CachePosition,
    origin: @autoclosure () -> ChangeOrigin
  ) {
    telemetry.publish(type: CacheEvent.invalidated) {
      var data: [String: JSONValue] = [
        "epoch": .string(String(position.epoch)), "sequence": .string(String(position.sequence)),
      ]
      let subject: String
      switch scope {
      case .keys(let keys):
        subject = keys.count == 1 ? keys[0] : "keys"
        data["keys"] = Self.names(keys)
        data["count"] = .number(Double(keys.count))
      case .tags(let tags):
        subject = tags.count == 1 ? tags[0] : "tags"
        data["tags"] = Self.names(tags)
        data["count"] = .number(Double(tags.count))
      case .pattern(let pattern):
        subject = pattern.text
        data["pattern"] = .string(pattern.text)
      case .all:
        subject = "all"
        data["all"] = true
      }
      return TelemetryEvent(
        type: CacheEvent.invalidated, subject: subject, data: JSONText(.object(data)),
        origin: origin())
    }
  }

  private static func names(_ all: [String]) -> JSONValue {
    .array(all.prefix(namesTold).map { .string($0) })
  }
}

extension Change {
  /// Writes the audit entry of a flush, and its event if it was done.
  ///
  /// - Parameter position: nil when it could not be done.
  package func recordFlush(
    reason: String, at position: CachePosition?, outcome: AuditEntry.Outcome = .success
  ) {
    var members: [String: JSONValue] = ["reason": .string(reason)]
    if let position {
      members["epoch"] = .string(String(position.epoch))
      members["sequence"] = .string(String(position.sequence))
    }
    let data = JSONText(.object(members))
    audit(
      AuditDraft(
        action: "cache.flushed", entityType: "cache", entityID: "cache", attributes: data,
        outcome: outcome))
    guard position != nil else { return }
    emit(EventDraft(type: CacheEvent.flushed.rawValue, subject: "cache", data: data))
  }
}

extension Database {
  /// Keeps the event that this server answers from its own memory, since Redis does not answer.
  ///
  /// - Parameter cause: what Redis's last failure was, without passwords.
  /// - Throws: what ``change(_:isAudited:_:)`` throws.
  package func recordCacheFallback(cause: String) async throws {
    try await change(.system(), isAudited: false) { change in
      change.emit(
        EventDraft(
          type: CacheEvent.fallbackActivated.rawValue, subject: "cache",
          data: JSONText(["cause": .string(cause)])))
    }
  }

  /// Keeps the event that Redis serves again.
  ///
  /// - Parameters:
  ///   - duration: how long it did not.
  ///   - invalidations: how many were made up for in Redis before.
  /// - Throws: what ``change(_:isAudited:_:)`` throws.
  package func recordCacheFallbackEnded(
    after duration: Duration, invalidations: Int
  ) async throws {
    try await change(.system(), isAudited: false) { change in
      change.emit(
        EventDraft(
          type: CacheEvent.fallbackEnded.rawValue, subject: "cache",
          data: JSONText([
            "duration_seconds": .number(duration / .seconds(1)),
            "invalidations": .number(Double(invalidations)),
          ])))
    }
  }
}
