import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// What the parts of a client's cache share.
///
/// Lock order: one lock at a time, and nothing is called while it is held.
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
      byteLimit: configuration.nearCacheBytes, stalenessLimit: configuration.stalenessLimit)
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

  // MARK: Calls that may fail

  /// Makes a call without which the caller can do. It goes on when the caller's task is cancelled:
  /// what it brings, a lease for example, has to be dealt with.
  ///
  /// - Returns: nil when it has failed, or is not made because others have.
  func attempt<Response: Sendable>(
    timeout: Duration,
    _ call: @escaping @Sendable (CallOptions) async throws -> Response
  ) async -> Response? {
    guard breaker.withLock({ $0.permits(at: .now) }) else { return nil }
    let result = await Task { try await call(CallOptions(timeout: timeout)) }.result
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
