import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// What the parts of a client's cache share.
///
/// Lock order: ``CacheFlights``, then a flight's, then ``NearCache``'s; the others one at a time. No
/// caller's code runs while one is held, but the `deinit` of values that are dropped: that may not
/// call the cache.
final class CacheCore: Sendable {
  typealias Instant = ContinuousClock.Instant

  let service: KeelsonCacheV1.CacheServiceClient
  let configuration: CacheConfiguration
  let near: NearCache
  let flights = CacheFlights()
  private let subscription: InvalidationSubscription
  private let breaker = Mutex(CacheBreaker())
  private let counts = Mutex(CacheStatus())

  init(channel: any Channel, _ configuration: CacheConfiguration) {
    service = KeelsonCacheV1.CacheServiceClient(channel: channel)
    self.configuration = configuration
    near = NearCache(
      byteLimit: configuration.nearCacheBytes, stalenessLimit: configuration.stalenessLimit,
      silenceLimit: configuration.silenceLimit)
    subscription = InvalidationSubscription(
      service: service, near: near, pingInterval: configuration.pingInterval)
  }

  deinit {
    subscription.stop()
  }

  /// Keeps no copies from now on.
  func close() {
    subscription.stop()
  }

  func count(_ body: (inout CacheStatus) -> Void) {
    counts.withLock { body(&$0) }
  }

  var status: CacheStatus {
    var status = counts.withLock { $0 }
    status.isPassedBy = !breaker.withLock { $0.isClosed }
    near.describe(in: &status)
    return status
  }

  // MARK: Reading

  /// A copy of this process's. The stream that keeps copies current begins with the first look.
  func look(_ key: String) -> (value: any NearValue, wantsRefresh: Bool)? {
    if let found = near.look(key) { return found }
    if near.isOn { subscription.start() }
    return nil
  }

  /// How often is asked for what is late, or has become void on its way.
  static let attempts = 3

  /// What is known of an entry that was asked for at a time.
  func provenance(
    of entry: KeelsonCacheV1.Entry, _ epoch: UInt64, asked: CacheInstant
  ) -> CacheProvenance {
    CacheProvenance(
      position: CachePosition(epoch: epoch, sequence: entry.stamp), tags: entry.tags,
      asOf: near.asOf(asked))
  }

  /// Keeps what a call has answered. An entry is given with the life of the cache that it belongs to.
  func keep(
    _ value: any NearValue, of entry: KeelsonCacheV1.Entry, epoch: UInt64,
    _ ticket: NearCache.Machine.Ticket, refreshAfter: Double = 1
  ) {
    let freshFor = entry.freshFor?.clampedDuration ?? .zero
    var refresh: Duration?
    if refreshAfter < 1, let ttl = entry.ttl?.clampedDuration {
      refresh = max(.zero, freshFor - ttl * (1 - refreshAfter))
    }
    near.keep(
      .init(
        value: value, valueBytes: entry.value.count,
        position: CachePosition(epoch: epoch, sequence: entry.stamp), tags: entry.tags,
        freshFor: freshFor, refreshAfter: refresh),
      of: ticket)
  }

  // MARK: What this process makes void

  /// Keys were invalidated, deleted or set from here.
  func voided(_ keys: [String], at position: CachePosition) {
    near.voided([.keys(keys)], at: position)
  }

  /// Tags or patterns were invalidated from here.
  func voided(tags: [String], patterns: [String], at position: CachePosition) {
    var scopes: [KeelsonCacheRules.Invalidation.Scope] = patterns.map {
      // The server has taken it.
      (try? CachePattern($0)).map { .pattern($0) } ?? .all
    }
    if !tags.isEmpty { scopes.append(.tags(tags)) }
    near.voided(scopes, at: position)
  }

  // MARK: Calls that may fail

  /// How long a call goes on whose answer nobody waits for any more.
  private static let lateAnswers: Duration = .seconds(5)

  /// Makes a call without which the caller can do. It goes on when the caller's task is cancelled, and
  /// for a while after the timeout: what it brings, a lease for example, has to be dealt with.
  ///
  /// - Parameter late: gets an answer that comes after the timeout.
  /// - Returns: nil when it has failed, has taken too long, or is not made because others have.
  func attempt<Response: Sendable>(
    timeout: Duration, late: @escaping @Sendable (Response) -> Void = { _ in },
    _ call: @escaping @Sendable (CallOptions) async throws -> Response
  ) async -> Response? {
    guard breaker.withLock({ $0.permits(at: .now) }) else { return nil }
    let answer = FirstAnswer<Response>()
    Task {
      let options = CallOptions(timeout: timeout + Self.lateAnswers)
      let result: Result<Response, any Error>
      do { result = .success(try await call(options)) } catch { result = .failure(error) }
      if !answer.send(result), case .success(let response) = result { late(response) }
    }
    let timer = Task {
      guard (try? await Task.sleep(for: timeout)) != nil else { return }
      let error = RPCError(
        .deadlineExceeded, "The cache has not answered within \(timeout) ('callTimeout').")
      answer.send(.failure(error))
    }
    let result = await answer.wait()
    timer.cancel()
    switch result {
    case .success(let response):
      breaker.withLock { $0.succeeded() }
      count { $0.error = nil }
      return response
    case .failure(let error):
      failed(error as? RPCError ?? RPCError(.unknown, "\(error)"))
      return nil
    }
  }

  /// Gives a lease back that nothing will be stored under. Also while the cache is passed by: others
  /// wait for it.
  func release(_ lease: KeelsonCacheV1.Lease?, of key: String) {
    guard let lease else { return }
    let request = KeelsonCacheV1.ReleaseLeaseRequest(key: key, lease: lease)
    // In a task of its own: the caller's may be cancelled. A lease ends by itself in the end.
    Task { [service] in
      _ = try? await service.releaseLease(
        request, options: CallOptions(timeout: Self.lateAnswers))
    }
  }

  private func failed(_ error: RPCError) {
    // What the server has understood and refused is no sign of illness.
    let isRefusal: Bool =
      switch error.code {
      case .invalidArgument, .failedPrecondition, .outOfRange, .permissionDenied,
        .unauthenticated:
        true
      default: false
      }
    breaker.withLock { breaker in
      if isRefusal { breaker.succeeded() } else { breaker.failed(at: .now) }
    }
    count { counts in
      counts.failures += 1
      counts.error = error
    }
    configuration.onError?(error)
  }
}

/// The first of several answers to one who waits.
private final class FirstAnswer<Response: Sendable>: Sendable {
  typealias Answer = Result<Response, any Error>

  private enum State {
    case none
    case waiting(CheckedContinuation<Answer, Never>)
    case answered(Answer)
  }
  private let state = Mutex(State.none)

  /// - Returns: whether it was the first.
  @discardableResult
  func send(_ answer: Answer) -> Bool {
    let (isFirst, waiting) = state.withLock {
      state -> (Bool, CheckedContinuation<Answer, Never>?) in
      switch state {
      case .answered: return (false, nil)
      case .none:
        state = .answered(answer)
        return (true, nil)
      case .waiting(let continuation):
        state = .answered(answer)
        return (true, continuation)
      }
    }
    waiting?.resume(returning: answer)
    return isFirst
  }

  /// To be called once.
  func wait() async -> Answer {
    await withCheckedContinuation { continuation in
      let answer = state.withLock { state -> Answer? in
        if case .answered(let answer) = state { return answer }
        state = .waiting(continuation)
        return nil
      }
      if let answer { continuation.resume(returning: answer) }
    }
  }
}
