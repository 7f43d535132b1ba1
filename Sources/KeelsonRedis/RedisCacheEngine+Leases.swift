package import KeelsonCacheRules
import KeelsonCore
import KeelsonTransport

extension RedisCacheEngine {
  /// How often a lease is asked for when the entry changes each time in between.
  private static let leaseTries = 4

  package func lease(
    _ key: String, _ request: CacheLeaseRequest
  ) async throws(CacheEngineError) -> CacheLeaseOutcome {
    var ticket: UInt64 = 0
    for _ in 0..<Self.leaseTries {
      ticket = link.waiters.ticket
      let found = try await read([key], Self.whole)[0]
      var entry = found.blob.map(entry)
      if let entry, found.isFresh, !isDue(entry, request) {
        return CacheLeaseOutcome(entry: entry, isFresh: true)
      }
      let outcome = try await inEpoch { (known, connection) throws(RedisError) in
        try await lease(key, request, beside: found, known, connection)
      }
      // Asking for the lease may have taken long, and it does not look at tags and patterns.
      let isStillCurrent = isStillCurrent(found, key)
      let isFresh = found.isFresh && isStillCurrent
      if !isStillCurrent { entry = nil }
      switch outcome {
      case .changed: continue
      case .granted(let lease):
        return CacheLeaseOutcome(entry: entry, isFresh: isFresh, lease: lease)
      case .taken where found.isFresh && !isFresh: continue
      case .taken(let duration):
        return CacheLeaseOutcome(
          entry: entry, isFresh: isFresh, ticket: ticket,
          leaseEnds: isFresh ? nil : .now + duration)
      }
    }
    // Whoever changes it so often is who loads it.
    return CacheLeaseOutcome(ticket: ticket, leaseEnds: .now + .milliseconds(1))
  }

  /// Whether so much of a fresh entry's time is over that one may load it anew.
  private func isDue(_ entry: CacheEntry, _ request: CacheLeaseRequest) -> Bool {
    guard request.refreshAfter < 1 else { return false }
    let left = UnixTime.now.duration(to: entry.freshUntil)
    return entry.ttl - left >= entry.ttl * request.refreshAfter
  }

  private enum Answer {
    case changed
    case granted(CacheLease)
    case taken(Duration)
  }

  private func lease(
    _ key: String, _ request: CacheLeaseRequest, beside found: Found,
    _ known: KnownInvalidations.Link, _ connection: RedisConnection
  ) async throws(RedisError) -> Answer {
    let token = UInt64.random(in: 1...UInt64.max)
    let reply = try await link.run(
      .lease, keys: 3, arguments: 6, on: connection, epoch: known.epoch
    ) {
      $0.append(CacheNames.meta)
      $0.append(CacheNames.entry, key)
      $0.append(CacheNames.lease, key)
    } arguments: {
      $0.append(found.beginning)
      $0.append(token)
      $0.append(max(1, request.duration.wholeMilliseconds))
      $0.append(found.isFresh ? "0" : "1")
    }
    let parts = reply.array ?? []
    switch parts.first?.number {
    case 2: return .taken(.milliseconds(max(1, parts.last?.number ?? 1)))
    case 3:
      let sequence = UInt64(clamping: parts.last?.number ?? 0)
      return .granted(
        CacheLease(
          token: token, position: CachePosition(epoch: known.epoch, sequence: sequence),
          duration: request.duration))
    default: return .changed
    }
  }

  package func fill(
    _ write: CacheWrite, under lease: CacheLease
  ) async throws(CacheEngineError) -> CacheWriteOutcome {
    if !link.gauge.isFull {
      let outcome = try await underLease(lease) { (known, connection) throws(RedisError) in
        do throws(RedisError) {
          return try await fill(write, under: lease, known, connection)
        } catch  where error.kind == "OOM" {
          return .full
        }
      }
      if case .stored = outcome { link.gauge.add(write) }
      guard case .full = outcome else { return outcome ?? .leaseLost }
    }
    // Whoever waits for it loads for himself.
    return try await release(lease, of: write.key) ? .full : .leaseLost
  }

  /// Does something under a lease; nil when its epoch has ended, and the lease with it.
  private func underLease<Value>(
    _ lease: CacheLease,
    _ body: (KnownInvalidations.Link, RedisConnection) async throws(RedisError) -> Value
  ) async throws(CacheEngineError) -> Value? {
    try await inEpoch { (known, connection) throws(RedisError) in
      guard known.epoch == lease.position.epoch else { return nil }
      return try await body(known, connection)
    }
  }

  private func fill(
    _ write: CacheWrite, under lease: CacheLease, _ known: KnownInvalidations.Link,
    _ connection: RedisConnection
  ) async throws(RedisError) -> CacheWriteOutcome {
    let freshUntil = link.gauge.redisTime + write.lifetime.freshMilliseconds
    let reply = try await link.run(
      .fill, keys: 3, arguments: 6, on: connection, epoch: known.epoch
    ) {
      $0.append(CacheNames.meta)
      $0.append(CacheNames.entry, write.key)
      $0.append(CacheNames.lease, write.key)
    } arguments: {
      $0.append(lease.text)
      $0.append(write.key)
      $0.append(bytes: EntryBlob.nonceOffset + EntryBlob.restBytes(write)) { bytes in
        bytes.append(contentsOf: EntryBlob.start(write, epoch: known.epoch))
        EntryBlob.append(lease.position.sequence, to: &bytes)
        EntryBlob.appendRest(write, freshUntil: freshUntil, nonce: nextNonce(), to: &bytes)
      }
      $0.append(write.lifetime.keptMilliseconds)
    }
    return reply.number == 1 ? .stored(lease.position) : .leaseLost
  }

  package func release(
    _ lease: CacheLease, of key: String
  ) async throws(CacheEngineError) -> Bool {
    let reply = try await underLease(lease) { (known, connection) throws(RedisError) in
      try await link.run(
        .release, keys: 2, arguments: 4, on: connection, epoch: known.epoch
      ) {
        $0.append(CacheNames.meta)
        $0.append(CacheNames.lease, key)
      } arguments: {
        $0.append(lease.text)
        $0.append(key)
      }
    }
    return reply?.number == 1
  }

  package func wait(
    for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant
  ) async {
    await link.waiters.wait(for: key, after: ticket) { wait in
      let timer = LoopTimer(link.loop)
      timer.start(until: deadline) { wait.end(.success(())) }
      return { timer.cancel() }
    }
  }

  /// A timer of a loop, from any thread.
  ///
  /// `@unchecked Sendable`: what is mutable is touched on the loop only.
  private final class LoopTimer: @unchecked Sendable {
    private let loop: Loop
    private var timer: Loop.Timer?
    private var isCancelled = false

    init(_ loop: Loop) { self.loop = loop }

    func start(
      until deadline: ContinuousClock.Instant, _ action: @escaping @Sendable () -> Void
    ) {
      loop.run { [self] in
        guard !isCancelled else { return }
        let left = ContinuousClock.now.duration(to: deadline)
        timer = loop.schedule(after: max(.zero, left), action)
      }
    }

    func cancel() {
      loop.run { [self] in
        isCancelled = true
        if let timer { loop.cancel(timer) }
      }
    }
  }
}

extension CacheLease {
  /// As it is kept in Redis.
  fileprivate var text: String {
    RedisScript.leaseText(token: token, epoch: position.epoch, sequence: position.sequence)
  }
}
