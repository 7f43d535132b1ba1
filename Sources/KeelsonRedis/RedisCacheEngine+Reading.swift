package import KeelsonCacheRules
import KeelsonCore

extension RedisCacheEngine {
  /// What is under a key.
  struct Found: Sendable {
    /// nil when there is nothing that is current.
    var blob: EntryBlob?
    var isFresh: Bool
    /// The beginning of whatever is there, to recognize it by; empty when nothing is.
    var beginning: ArraySlice<UInt8>
    /// When it was asked for, of which process, and as of when it is known to be current.
    var askedAt: Int64 = 0
    var runID: UInt64 = 0
    var asOf: Int64 = 0

    var entry: EntryBlob? { isFresh ? blob : nil }
  }

  package func get(_ keys: [String]) async throws(CacheEngineError) -> [CacheEntry?] {
    try await read(keys, Self.whole).map { $0.entry.map(entry) }
  }

  /// Asks for entries with their values.
  static func whole(_ keys: [String]) -> [RedisCommand] {
    var command = RedisCommand(words: 1 + keys.count, bytes: 64 * keys.count)
    command.append(keys.count == 1 ? "GET" : "MGET")
    for key in keys { command.append(CacheNames.entry, key) }
    return [command]
  }

  /// For the caller: in this server's own time.
  func entry(_ blob: EntryBlob) -> CacheEntry {
    let left = Duration.milliseconds(blob.freshUntil - link.gauge.redisTime)
    return CacheEntry(
      value: [UInt8](blob.value), isAbsent: blob.isAbsent, tags: blob.tags,
      position: CachePosition(epoch: blob.epoch, sequence: blob.stamp),
      freshUntil: UnixTime.now + left, ttl: blob.ttl)
  }

  /// Reads entries and says which are current, as of less than the staleness ago.
  ///
  /// - Parameter commands: whose answers are the entries, or arrays of them.
  func read(
    _ keys: [String], _ commands: ([String]) -> [RedisCommand]
  ) async throws(CacheEngineError) -> [Found] {
    do throws(RedisError) {
      if let found = try await readOnce(keys, commands(keys)) { return found }
      // An answer that took long may have been overtaken by what became void since.
      if let found = try await readOnce(keys, commands(keys)) { return found }
      throw RedisError(
        .timedOut,
        "Redis answers too slowly to say what is true as of \(limits.staleness) ago "
          + "(cache-staleness).")
    } catch {
      throw error.asEngineError
    }
  }

  /// What is of another type was not stored by us: it is no entry.
  private static func entry(in reply: RedisReply) throws(RedisError) -> RedisReply {
    if case .error(let message) = reply, message.hasPrefix("WRONGTYPE") { return .null }
    return try reply.checked()
  }

  /// nil when the answers are too old by now.
  private func readOnce(
    _ keys: [String], _ commands: [RedisCommand]
  ) async throws(RedisError) -> [Found]? {
    link.use()
    let connection = try pool.connection()
    let sent = MonotonicTime.now
    var blobs: [[UInt8]?] = []
    if commands.count == 1 {
      let reply = try await Self.entry(in: connection.ask(commands[0]))
      if let replies = reply.array { blobs = replies.map(\.bytes) } else { blobs = [reply.bytes] }
    } else {
      for reply in try await connection.ask(commands) {
        blobs.append(try Self.entry(in: reply).bytes)
      }
    }
    guard blobs.count == keys.count else {
      throw RedisError(.unreachable, "Redis has answered something else than was asked.")
    }
    try await know(asOf: sent - limits.knowledgeAge.nanoseconds)
    let asOf = min(sent, link.known.asOf ?? sent - limits.staleness.nanoseconds)
    switch judge(keys, blobs, by: connection.runID, askedAt: sent) {
    case .judged(var found):
      for index in found.indices {
        found[index].askedAt = sent
        found[index].runID = connection.runID
        found[index].asOf = asOf
      }
      return MonotonicTime.now - asOf < limits.staleness.nanoseconds ? found : nil
    case .tooOld: return nil
    case .unknown:
      throw RedisError(.unreachable, "Redis was restarted; its cache begins anew.")
    }
  }

  /// Whether an entry that was current when it was read is so still, after something else was waited
  /// for.
  func isStillCurrent(_ found: Found, _ key: String) -> Bool {
    guard let blob = found.blob else { return true }
    let judgement = link.known.withView(of: found.runID, askedAt: found.askedAt) { view in
      blob.epoch == view.epoch ? view.bansToMatch(stamp: blob.stamp, tags: blob.tags) : nil
    }
    var steps = 0
    guard case .judged(let bans?) = judgement, !BanMatching.isVoid(key, by: bans, steps: &steps)
    else { return false }
    // Last: what was known may go while it is judged.
    return MonotonicTime.now - found.asOf < limits.staleness.nanoseconds
  }

  /// Says which entries are current, by what is known now.
  func judge(
    _ keys: [String], _ blobs: [[UInt8]?], by runID: UInt64, askedAt time: Int64
  ) -> KnownInvalidations.Judgement<[Found]> {
    var found = blobs.map { bytes in
      Found(
        blob: bytes.flatMap { EntryBlob($0) }, isFresh: false,
        beginning: bytes?.prefix(EntryBlob.timesOffset) ?? [])
    }
    let judgement = link.known.withView(of: runID, askedAt: time) { view in
      found.map { found -> ArraySlice<InvalidationView.Ban>? in
        guard let blob = found.blob, blob.epoch == view.epoch else { return nil }
        return view.bansToMatch(stamp: blob.stamp, tags: blob.tags)
      }
    }
    let bans: [ArraySlice<InvalidationView.Ban>?]
    switch judgement {
    case .judged(let judged): bans = judged
    case .tooOld: return .tooOld
    case .unknown: return .unknown
    }
    // Outside of the lock of what is known: it may be long, and the link has to go on.
    var matching = BanMatching()
    let now = link.gauge.redisTime
    for index in found.indices {
      guard let blob = found[index].blob, let bans = bans[index],
        !matching.isVoid(keys[index], by: bans)
      else {
        found[index].blob = nil
        continue
      }
      found[index].isFresh = blob.freshUntil > now
    }
    return .judged(found)
  }

  /// Header and tags of entries, without their values.
  func readHeads(_ keys: [String]) async throws(CacheEngineError) -> [Found] {
    try await read(keys) { keys in
      keys.map { key in
        var command = RedisCommand(words: 4, bytes: 64 + key.utf8.count)
        command.append("GETRANGE")
        command.append(CacheNames.entry, key)
        command.append(0)
        command.append(EntryBlob.headBytes - 1)
        return command
      }
    }
  }
}
