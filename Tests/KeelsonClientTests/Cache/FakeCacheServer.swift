import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization

@testable import KeelsonClient

/// Runs a body with the cache of a client and the server that it uses.
func withCache(
  _ configuration: CacheConfiguration = .with { _ in },
  _ body: (Cache, FakeCacheServer) async throws -> Void
) async throws {
  let server = FakeCacheServer()
  try await withInProcessChannel(to: server.routes) { channel in
    var settings = KeelsonClient.Configuration()
    settings.subscribesToFlags = false
    settings.cache = configuration
    let client = KeelsonClient(channel: channel, settings)
    try await body(client.cache, server)
    await client.shutdown()
  }
}

extension CacheConfiguration {
  /// That of most tests, changed: they run beside many others, and wait for nothing that they do not
  /// test.
  static func with(_ change: (inout CacheConfiguration) -> Void) -> Self {
    var configuration = CacheConfiguration()
    configuration.callTimeout = .seconds(30)
    configuration.pingInterval = .milliseconds(5)
    configuration.silenceLimit = .seconds(60)
    configuration.policy.softTimeout = nil
    configuration.policy.refreshAfter = 1
    change(&configuration)
    return configuration
  }
}

/// A cache server under the test's control: entries, leases, invalidations and streams of them in
/// memory; it fails, hangs, is full, lags behind, holds answers back and breaks streams as told.
final class FakeCacheServer: Sendable {
  typealias API = KeelsonCacheV1
  typealias Methods = API.CacheServiceMethods
  typealias Told = API.WatchInvalidationsResponse
  fileprivate typealias Instant = ContinuousClock.Instant

  fileprivate struct Stored {
    var entry: API.Entry
    var freshUntil: Instant
    var goneAt: Instant

    var current: API.Entry {
      var entry = entry
      entry.freshFor = .init(Instant.now.duration(to: freshUntil))
      return entry
    }
  }

  fileprivate struct State {
    var epoch: UInt64 = 0xE
    var view = InvalidationView(epoch: 0xE)
    var entries: [String: Stored] = [:]
    var leases: [String: (lease: API.Lease, until: Instant)] = [:]
    var lastToken: UInt64 = 0
    var watchers: [Int: AsyncStream<Told>.Continuation] = [:]
    var lastWatcher = 0
    var waiting: [CancellableWait<Void>] = []
    var calls: [String: Int] = [:]
    var failure: RPCError?
    var hangs = false
    var holds: [String: (arrived: Signal<Void>, gate: Gate)] = [:]
    var isFull = false
    var answersPings = true
    /// Since when the streams are told nothing, and what they will be told.
    var lagsSince: Instant?
    var untold: [Told.Event] = []
    var nearHits: UInt64 = 0
    var stored: [(key: String, signal: Signal<Void>)] = []
    var released: [(key: String, signal: Signal<Void>)] = []
  }

  private let state = Mutex(State())

  var routes: [Route] {
    [
      .unary(Methods.getEntry) { (request: API.GetEntryRequest, context) in
        try await self.serve("GetEntry", context) { self.get(request.key) }
      },
      .unary(Methods.setEntry) { (request: API.SetEntryRequest, context) in
        try await self.serve("SetEntry", context) { try self.set(request) }
      },
      .unary(Methods.getOrLease) { (request: API.GetOrLeaseRequest, context) in
        try await self.serve("GetOrLease", context) { try await self.getOrLease(request) }
      },
      .unary(Methods.releaseLease) { (request: API.ReleaseLeaseRequest, context) in
        try await self.serve("ReleaseLease", context) { self.release(request) }
      },
      .unary(Methods.deleteEntries) { (request: API.DeleteEntriesRequest, context) in
        try await self.serve("DeleteEntries", context) { self.delete(request.keys) }
      },
      .unary(Methods.touchEntries) { (request: API.TouchEntriesRequest, context) in
        try await self.serve("TouchEntries", context) { self.touch(request) }
      },
      .unary(Methods.invalidateEntries) { (request: API.InvalidateEntriesRequest, context) in
        try await self.serve("InvalidateEntries", context) { try self.invalidate(request) }
      },
      .bidirectional(Methods.watchInvalidations) {
        (
          requests: RequestStream<API.WatchInvalidationsRequest>, responses: ResponseWriter<Told>,
          _
        ) in
        try await self.watch(requests, responses)
      },
    ]
  }

  // MARK: What the test sees and tells

  func calls(_ method: String) -> Int { state.withLock { $0.calls[method] ?? 0 } }
  var sequence: UInt64 { state.withLock { $0.view.sequence } }
  var nearHits: UInt64 { state.withLock { $0.nearHits } }
  func entry(_ key: String) -> API.Entry? { state.withLock { $0.entries[key]?.current } }
  func hasLease(_ key: String) -> Bool { state.withLock { $0.leases[key] != nil } }

  /// Fails every call but the streams; nil: serves again.
  func fail(_ error: RPCError?) { state.withLock { $0.failure = error } }
  /// Lets every call but the streams hang until its end.
  func hang() { state.withLock { $0.hangs = true } }
  /// Stores nothing under plain sets.
  func fill() { state.withLock { $0.isFull = true } }
  /// Tells the streams nothing of what becomes void from now on, and that it does not know.
  func lag() { state.withLock { $0.lagsSince = .now } }
  func catchUp() {
    state.withLock { state in
      state.lagsSince = nil
      for event in state.untold { state.tell(event) }
      state.untold = []
    }
  }
  func answersPings(_ does: Bool) { state.withLock { $0.answersPings = does } }

  /// Holds the next answer of a method back until the gate opens.
  func hold(_ method: String) -> (arrived: Signal<Void>, gate: Gate) {
    let hold = (arrived: Signal<Void>(), gate: Gate())
    state.withLock { $0.holds[method] = hold }
    return hold
  }

  /// Happens when an entry is stored under the key.
  func stores(_ key: String) -> Signal<Void> {
    let signal = Signal<Void>()
    state.withLock { $0.stored.append((key, signal)) }
    return signal
  }

  func releases(_ key: String) -> Signal<Void> {
    let signal = Signal<Void>()
    state.withLock { $0.released.append((key, signal)) }
    return signal
  }

  /// Puts an entry there as if another client had loaded it: no invalidation.
  func put(_ key: String, _ json: String, freshFor: Duration = .seconds(60), tags: [String] = []) {
    state.withLock { state in
      var entry = API.Entry()
      entry.value = Array(json.utf8)
      entry.tags = tags
      entry.stamp = state.view.sequence
      entry.ttl = .init(.seconds(60))
      state.entries[key] = Stored(
        entry: entry, freshUntil: .now + freshFor, goneAt: .now + freshFor + .seconds(600))
      state.leases[key] = nil
      state.wake()
    }
  }

  /// Gives the lease of a key to somebody else.
  func lease(_ key: String) { _ = state.withLock { $0.lease(key, .seconds(60)) } }

  /// Breaks every stream.
  func disconnect() {
    state.withLock { state in
      for watcher in state.watchers.values { watcher.finish() }
    }
  }

  /// Sends a message on every stream.
  func tell(_ event: Told.Event) { state.withLock { $0.tell(event) } }

  // MARK: Serving

  private func serve<Response: Sendable>(
    _ method: String, _ context: ServerContext, _ body: () async throws -> Response
  ) async throws -> Response {
    let (failure, hangs, hold) = state.withLock { state in
      state.calls[method, default: 0] += 1
      return (state.failure, state.hangs, state.holds.removeValue(forKey: method))
    }
    if let failure { throw failure }
    if hangs {
      let (never, continuation) = AsyncStream.makeStream(of: Never.self)
      for await _ in never {}
      continuation.finish()
      throw CancellationError()
    }
    let response = try await body()
    if let hold {
      hold.arrived.send()
      await hold.gate.wait()
    }
    return response
  }

  private func get(_ key: String) -> API.GetEntryResponse {
    state.withLock { state in
      let entry = state.current(key)?.current
      let isFresh = entry?.freshFor.map { $0.clampedDuration > .zero } ?? false
      return .init(entry: isFresh ? entry : nil, epoch: state.epoch)
    }
  }

  private func set(_ request: API.SetEntryRequest) throws -> API.SetEntryResponse {
    guard request.value.count <= 1 << 20 else {
      throw RPCError(.invalidArgument, "value: has more than 1 MiB.")
    }
    return state.withLock { state in
      var stamp = state.view.sequence
      if let lease = request.lease {
        guard state.leases[request.key]?.lease.token == lease.token else {
          return .init(stored: false, reason: .leaseLost)
        }
        stamp = lease.stamp
      } else {
        stamp = state.invalidate(.keys([request.key]))
        if state.isFull { return .init(stored: false, reason: .full) }
      }
      var entry = API.Entry()
      entry.value = request.value
      entry.absent = request.absent
      entry.tags = request.tags
      entry.stamp = stamp
      entry.ttl = request.lifetime?.ttl ?? .init(.seconds(300))
      let fresh = Instant.now + (entry.ttl?.clampedDuration ?? .zero)
      let stale = request.lifetime?.staleFor?.clampedDuration ?? .zero
      state.entries[request.key] = Stored(entry: entry, freshUntil: fresh, goneAt: fresh + stale)
      state.leases[request.key] = nil
      state.wake()
      for waiting in state.stored where waiting.key == request.key { waiting.signal.send() }
      return .init(stored: true, stamp: stamp, epoch: state.epoch)
    }
  }

  private func getOrLease(_ request: API.GetOrLeaseRequest) async throws
    -> API.GetOrLeaseResponse
  {
    let deadline = Instant.now + (request.wait?.clampedDuration ?? .zero)
    while true {
      let wait = CancellableWait<Void>()
      let answer = state.withLock { state -> API.GetOrLeaseResponse? in
        var answer = API.GetOrLeaseResponse(epoch: state.epoch)
        answer.entry = state.current(request.key)?.current
        let duration = request.leaseDuration?.clampedDuration ?? .seconds(10)
        let freshFor = answer.entry?.freshFor?.clampedDuration ?? .zero
        if freshFor > .zero {
          let ttl = answer.entry?.ttl?.clampedDuration ?? .zero
          if request.refreshAfter > 0, freshFor <= ttl * (1 - request.refreshAfter) {
            answer.lease = state.lease(request.key, duration)
          }
          return answer
        }
        if let lease = state.lease(request.key, duration) {
          answer.lease = lease
          return answer
        }
        answer.leased = true
        guard Instant.now < deadline else { return answer }
        state.waiting.append(wait)
        return nil
      }
      if let answer { return answer }
      // The caller's own deadline, as a server keeps it.
      let clock = ContinuousClock()
      let timer = Task {
        try await clock.sleep(until: deadline)
        wait.end(.success(()))
      }
      defer { timer.cancel() }
      // It may have been woken before it waits.
      try? await wait.value {}
      try Task.checkCancellation()
    }
  }

  private func release(_ request: API.ReleaseLeaseRequest) -> API.ReleaseLeaseResponse {
    state.withLock { state in
      let stood = state.leases[request.key]?.lease.token == request.lease?.token
      if stood { state.leases[request.key] = nil }
      state.wake()
      for waiting in state.released where waiting.key == request.key { waiting.signal.send() }
      return .init(released: stood)
    }
  }

  private func delete(_ keys: [String]) -> API.DeleteEntriesResponse {
    state.withLock { state in
      let found = keys.map { state.current($0) != nil }
      let sequence = state.invalidate(.keys(keys))
      return .init(found: found, sequence: sequence, epoch: state.epoch)
    }
  }

  private func touch(_ request: API.TouchEntriesRequest) -> API.TouchEntriesResponse {
    state.withLock { state in
      let ttl = request.lifetime?.ttl?.clampedDuration ?? .seconds(300)
      return .init(
        found: request.keys.map { key in
          guard state.current(key) != nil else { return false }
          state.entries[key]?.freshUntil = .now + ttl
          return true
        })
    }
  }

  /// What another client invalidates.
  @discardableResult
  func invalidate(_ request: API.InvalidateEntriesRequest) throws
    -> API.InvalidateEntriesResponse
  {
    let patterns = try request.patterns.map { try CachePattern($0) }
    return state.withLock { state in
      if !request.keys.isEmpty { state.invalidate(.keys(request.keys)) }
      if !request.tags.isEmpty { state.invalidate(.tags(request.tags)) }
      for pattern in patterns { state.invalidate(.pattern(pattern)) }
      return .init(sequence: state.view.sequence, epoch: state.epoch)
    }
  }

  private func watch(
    _ requests: RequestStream<API.WatchInvalidationsRequest>, _ responses: ResponseWriter<Told>
  ) async throws {
    let (events, continuation) = AsyncStream<Told>.makeStream()
    let id = state.withLock { state in
      state.calls["WatchInvalidations", default: 0] += 1
      let start = API.InvalidationStart(epoch: state.epoch, sequence: state.view.sequence)
      continuation.yield(.init(event: .start(start)))
      state.lastWatcher += 1
      state.watchers[state.lastWatcher] = continuation
      return state.lastWatcher
    }
    let reading = Task {
      for try await request in requests {
        state.withLock { state in
          state.nearHits += request.nearHits
          guard state.answersPings else { return }
          let age = state.lagsSince.map { $0.duration(to: .now) } ?? .zero
          let pong = API.Pong(ping: request.ping, age: .init(age), inSync: true)
          continuation.yield(.init(event: .pong(pong)))
        }
      }
      continuation.finish()
    }
    defer {
      reading.cancel()
      _ = state.withLock { $0.watchers.removeValue(forKey: id) }
    }
    for await event in events { try await responses.write(event) }
    throw RPCError(.unavailable, "The stream was broken.")
  }
}

extension FakeCacheServer.State {
  /// What is there and not void, stale or not.
  fileprivate func current(_ key: String) -> FakeCacheServer.Stored? {
    guard let stored = entries[key], stored.goneAt > .now,
      view.isCurrent(stamp: stored.entry.stamp, key: key, tags: stored.entry.tags)
    else { return nil }
    return stored
  }

  fileprivate mutating func lease(_ key: String, _ duration: Duration)
    -> KeelsonCacheV1.Lease?
  {
    if let standing = leases[key], standing.until > .now { return nil }
    lastToken += 1
    let lease = KeelsonCacheV1.Lease(
      token: lastToken, stamp: view.sequence, epoch: epoch, duration: .init(duration))
    leases[key] = (lease, .now + duration)
    return lease
  }

  @discardableResult
  fileprivate mutating func invalidate(_ scope: Invalidation.Scope) -> UInt64 {
    let sequence = view.sequence + 1
    _ = view.apply(.init(sequence: sequence, scope: scope))
    var told = KeelsonCacheV1.Invalidation(sequence: sequence)
    switch scope {
    case .keys(let keys):
      told.keys = keys
      for key in keys {
        entries[key] = nil
        leases[key] = nil
      }
    case .tags(let tags): told.tags = tags
    case .pattern(let pattern): told.patterns = [pattern.text]
    case .all: told.all = true
    }
    if lagsSince == nil {
      tell(.invalidation(told))
    } else {
      untold.append(.invalidation(told))
    }
    wake()
    return sequence
  }

  fileprivate mutating func tell(_ event: FakeCacheServer.Told.Event) {
    for watcher in watchers.values { watcher.yield(.init(event: event)) }
  }

  fileprivate mutating func wake() {
    for wait in waiting { wait.end(.success(())) }
    waiting = []
  }
}
