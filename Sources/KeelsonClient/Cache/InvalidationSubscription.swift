import KeelsonAPI
import KeelsonCore
import KeelsonTransport
import Synchronization

/// Keeps the copies of a process current: one stream of invalidations after the other, and pings on
/// it while copies are in use.
final class InvalidationSubscription: Sendable {
  private let service: KeelsonCacheV1.CacheServiceClient
  private let near: NearCache
  private let pingInterval: Duration
  private let backoff = ConnectionBackoff(initial: .milliseconds(50), maximum: .seconds(5))
  /// The wait after a refusal that trying again soon does not cure.
  private static let refusalInterval: Duration = .seconds(30)

  private enum State {
    case idle
    case running(Task<Void, Never>)
    case stopped
  }
  private let state = Mutex(State.idle)
  private let hasStarted = Atomic(false)

  init(
    service: KeelsonCacheV1.CacheServiceClient, near: NearCache, pingInterval: Duration
  ) {
    self.service = service
    self.near = near
    self.pingInterval = pingInterval
  }

  /// Begins with it, if it has not begun.
  func start() {
    guard !hasStarted.load(ordering: .relaxed) else { return }
    hasStarted.store(true, ordering: .relaxed)
    state.withLock { state in
      guard case .idle = state else { return }
      // Nothing of the caller's belongs to the stream: neither its priority nor its call's context.
      state = .running(Task.detached { [self] in await run() })
    }
  }

  func stop() {
    hasStarted.store(true, ordering: .relaxed)
    let task = state.withLock { state -> Task<Void, Never>? in
      defer { state = .stopped }
      if case .running(let task) = state { return task }
      return nil
    }
    task?.cancel()
    near.disconnect()
  }

  private func run() async {
    var failures = 0
    var random = SystemRandomNumberGenerator()
    while !Task.isCancelled {
      var wait = Duration.zero
      do {
        try await stream { failures = 0 }
      } catch let error as RPCError where Self.isRefusal(error) {
        wait = Self.refusalInterval
      } catch {
        // It begins anew.
      }
      near.disconnect()
      wait = max(wait, backoff.interval(afterFailures: failures, using: &random))
      failures += 1
      // A cancelled sleep ends the loop.
      try? await Task.sleep(for: wait)
    }
  }

  private static func isRefusal(_ error: RPCError) -> Bool {
    switch error.code {
    case .unimplemented, .permissionDenied, .unauthenticated, .invalidArgument: true
    default: false
    }
  }

  /// One stream, from its beginning to its end.
  private func stream(began: () -> Void) async throws {
    let call = service.watchInvalidations(options: CallOptions(waitForReady: true))
    var pinging: Task<Void, Never>?
    defer {
      pinging?.cancel()
      call.cancel()
    }
    for try await response in call.responses {
      near.take(response)
      guard pinging == nil else { continue }
      began()
      pinging = Task { await ping(call) }
    }
  }

  private func ping(
    _ call: BidirectionalCall<
      KeelsonCacheV1.WatchInvalidationsRequest, KeelsonCacheV1.WatchInvalidationsResponse
    >
  ) async {
    while !Task.isCancelled {
      switch near.tick() {
      case .ping(let number, let nearHits):
        let request = KeelsonCacheV1.WatchInvalidationsRequest(ping: number, nearHits: nearHits)
        do {
          try await call.requests.write(request)
          try await Task.sleep(for: pingInterval)
        } catch {
          // The responses say how the call has ended.
          return
        }
      case .full:
        // A cancelled sleep ends the loop.
        try? await Task.sleep(for: pingInterval)
      case .idle: _ = await near.wakeup.wait()
      case .giveUp:
        call.cancel()
        return
      }
    }
  }
}
