package import KeelsonCacheRules
import KeelsonCore

extension RedisCacheEngine {
  /// Entries that one script stores, and their bytes: so that it is done in about a millisecond.
  private static let writesPerScript = 100
  private static let bytesPerScript = 1 << 20
  /// Keys and tags that one script takes.
  private static let namesPerScript = 500

  // MARK: Storing

  package func set(_ writes: [CacheWrite]) async throws(CacheEngineError) -> [CacheWriteOutcome] {
    var outcomes: [CacheWriteOutcome] = []
    outcomes.reserveCapacity(writes.count)
    var start = 0
    while start < writes.count {
      var end = start
      var bytes = 0
      repeat {
        bytes += writes[end].value.count
        end += 1
      } while end < writes.count && end - start < Self.writesPerScript
        && bytes + writes[end].value.count <= Self.bytesPerScript
      let outcome = try await store(writes[start..<end])
      for _ in start..<end { outcomes.append(outcome) }
      start = end
    }
    return outcomes
  }

  private func store(
    _ writes: ArraySlice<CacheWrite>
  ) async throws(CacheEngineError) -> CacheWriteOutcome {
    if !link.gauge.isFull {
      let stored = try await inEpoch { (known, connection) throws(RedisError) in
        do throws(RedisError) {
          return try await store(writes, known, connection) as CacheWriteOutcome?
        } catch  where error.kind == "OOM" {
          return nil
        }
      }
      if let stored {
        for write in writes { link.gauge.add(write) }
        return stored
      }
    }
    // What is there is not what the caller has: nobody may be given it any more.
    _ = try await remove(writes.map(\.key), looking: false)
    return .full
  }

  private func store(
    _ writes: ArraySlice<CacheWrite>, _ known: KnownInvalidations.Link,
    _ connection: RedisConnection
  ) async throws(RedisError) -> CacheWriteOutcome {
    let now = link.gauge.redisTime
    let reply = try await link.run(
      .set, keys: 1 + 2 * writes.count, arguments: 4 + 3 * writes.count, on: connection,
      epoch: known.epoch
    ) {
      $0.append(CacheNames.meta)
      for write in writes {
        $0.append(CacheNames.entry, write.key)
        $0.append(CacheNames.lease, write.key)
      }
    } arguments: {
      $0.append(InvalidationMessage.body(.keys(writes.map(\.key))))
      $0.append("\(now + Int64(clamping: limits.commandTimeout.wholeMilliseconds))")
      for write in writes {
        $0.append(EntryBlob.start(write, epoch: known.epoch))
        $0.append(bytes: EntryBlob.restBytes(write)) { bytes in
          EntryBlob.appendRest(
            write, freshUntil: now + write.lifetime.freshMilliseconds, nonce: nextNonce(),
            to: &bytes)
        }
        $0.append(write.lifetime.keptMilliseconds)
      }
    }
    return .stored(
      CachePosition(epoch: known.epoch, sequence: UInt64(clamping: reply.number ?? 0)))
  }

  package func touch(
    _ keys: [String], _ lifetime: CacheLifetime
  ) async throws(CacheEngineError) -> [Bool] {
    var touched: [Bool] = []
    touched.reserveCapacity(keys.count)
    for start in stride(from: 0, to: keys.count, by: Self.namesPerScript) {
      let slice = Array(keys[start..<min(start + Self.namesPerScript, keys.count)])
      let found = try await readHeads(slice)
      guard found.contains(where: \.isFresh) else {
        touched += found.map { _ in false }
        continue
      }
      let reply = try await inEpoch { (known, connection) throws(RedisError) in
        try await link.run(
          .touch, keys: 1 + slice.count, arguments: 4 + slice.count, on: connection,
          epoch: known.epoch
        ) {
          $0.append(CacheNames.meta)
          for key in slice { $0.append(CacheNames.entry, key) }
        } arguments: {
          $0.append(lifetime.keptMilliseconds)
          let freshUntil = link.gauge.redisTime + lifetime.freshMilliseconds
          $0.append(bytes: 16) {
            EntryBlob.appendTimes(freshUntil: freshUntil, ttl: lifetime.ttl, to: &$0)
          }
          for found in found {
            // What was found may be of an epoch that has ended by now.
            let isThere = found.isFresh && found.blob?.epoch == known.epoch
            $0.append(isThere ? found.beginning : [])
          }
        }
      }
      touched += (reply.array ?? []).map { $0.number == 1 }
    }
    return touched
  }

  // MARK: Making void

  package func delete(
    _ keys: [String]
  ) async throws(CacheEngineError) -> (found: [Bool], position: CachePosition) {
    try await remove(keys, looking: true)
  }

  private func remove(
    _ keys: [String], looking: Bool
  ) async throws(CacheEngineError) -> (found: [Bool], position: CachePosition) {
    var found: [Bool] = []
    var position = CachePosition(epoch: 0, sequence: 0)
    for start in stride(from: 0, to: keys.count, by: Self.namesPerScript) {
      let slice = Array(keys[start..<min(start + Self.namesPerScript, keys.count)])
      let sent = MonotonicTime.now
      let (reply, known) = try await inEpoch { (known, connection) throws(RedisError) in
        let reply = try await link.run(
          .delete, keys: 1 + 2 * slice.count, arguments: 4, on: connection, epoch: known.epoch
        ) {
          $0.append(CacheNames.meta)
          for key in slice {
            $0.append(CacheNames.entry, key)
            $0.append(CacheNames.lease, key)
          }
        } arguments: {
          $0.append(InvalidationMessage.body(.keys(slice)))
          $0.append(looking ? EntryBlob.headBytes : 0)
        }
        return (reply, known)
      }
      let parts = reply.array ?? []
      position = CachePosition(
        epoch: known.epoch, sequence: UInt64(clamping: parts.first?.number ?? 0))
      guard looking, parts.count == 2 else { continue }
      let heads = (parts[1].array ?? []).map(\.bytes)
      if heads.count == slice.count,
        case .judged(let judged) = judge(slice, heads, by: known.runID, askedAt: sent)
      {
        found += judged.map(\.isFresh)
      } else {
        found += slice.map { _ in false }
      }
    }
    return (found, position)
  }

  package func invalidate(
    _ scope: Invalidation.Scope
  ) async throws(CacheEngineError) -> CachePosition {
    switch scope {
    case .keys(let keys): return try await remove(keys, looking: false).position
    case .tags(let tags):
      var position = CachePosition(epoch: 0, sequence: 0)
      for start in stride(from: 0, to: tags.count, by: Self.namesPerScript) {
        let slice = Array(tags[start..<min(start + Self.namesPerScript, tags.count)])
        position = try await void(
          .tags, .tags(slice), keys: [CacheNames.meta, CacheNames.tags],
          [String(limits.view.tags)] + slice)
      }
      return position
    case .pattern(let pattern):
      return try await void(
        .pattern, scope, keys: [CacheNames.meta, CacheNames.bans],
        [String(limits.view.bans), pattern.text])
    case .all:
      return try await void(
        .all, scope, keys: [CacheNames.meta, CacheNames.tags, CacheNames.bans], [])
    }
  }

  /// Records what becomes void, and waits until this server knows.
  private func void(
    _ script: RedisScript, _ scope: Invalidation.Scope, keys: [String], _ arguments: [String]
  ) async throws(CacheEngineError) -> CachePosition {
    try await inEpoch { (known, connection) throws(RedisError) in
      let reply = try await link.run(
        script, keys: keys.count, arguments: 3 + arguments.count, on: connection,
        epoch: known.epoch
      ) {
        for key in keys { $0.append(key) }
      } arguments: {
        $0.append(InvalidationMessage.body(scope))
        for argument in arguments { $0.append(argument) }
      }
      let position = CachePosition(
        epoch: known.epoch, sequence: UInt64(clamping: reply.number ?? 0))
      try await know(position)
      return position
    }
  }
}

extension CacheLifetime {
  var freshMilliseconds: Int64 { Int64(clamping: ttl.wholeMilliseconds) }
  /// How long Redis keeps what has it: at least a millisecond, since 0 is refused.
  var keptMilliseconds: Int64 { max(1, Int64(clamping: (ttl + staleFor).wholeMilliseconds)) }
}
