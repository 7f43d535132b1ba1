package import KeelsonAPI
import KeelsonCacheRules
package import KeelsonCore
import Synchronization

extension CacheService {
  package func watchInvalidations(
    requests: RequestStream<API.WatchInvalidationsRequest>,
    responses: ResponseWriter<API.WatchInvalidationsResponse>, context: ServerContext
  ) async throws {
    let wakeup = Wakeup()
    let id = try feed.enter(wakeup)
    defer { feed.leave(id) }
    /// The newest ping that waits for its answer: it answers those before it, too.
    let ping = LatestPing()
    let listening = Task { [counters] in
      do {
        for try await request in requests {
          counters.add(
            Int(clamping: min(request.nearHits, Self.nearHitsOfMessage)), to: .nearHits)
          if request.ping != 0 {
            ping.set(request.ping)
            wakeup.set()
          }
        }
      } catch {
        ping.fail(error)
        wakeup.set()
      }
    }
    defer { listening.cancel() }
    var position: Int?
    while true {
      // The order matters: what was void at the time of `age` is in what is delivered after it.
      let asked = try ping.take()
      let age = asked == nil ? nil : engine.age(at: .now)
      var isLast = false
      while !isLast {
        let delivery = feed.delivery(at: position)
        if let start = delivery.start { try await responses.write(self.start(start)) }
        for message in delivery.messages { try await responses.write(encoded: message) }
        position = delivery.next
        isLast = delivery.isLast
      }
      if let asked { try await responses.write(.pong(asked, age: age)) }
      guard await wakeup.wait() else {
        try Task.checkCancellation()
        throw RPCError(
          .unavailable, "The server is stopping; connect again.",
          details: [.retryInfo(.milliseconds(100))])
      }
    }
  }

  /// A client cannot have answered more gets than that between two messages.
  private static let nearHitsOfMessage: UInt64 = 10_000_000

  private func start(_ position: CachePosition) -> API.WatchInvalidationsResponse {
    var start = API.InvalidationStart()
    start.epoch = position.epoch
    start.sequence = position.sequence
    start.fallback = fallback?.isActive ?? false
    start.staleness = .init(limits.staleness)
    var response = API.WatchInvalidationsResponse()
    response.event = .start(start)
    return response
  }
}

/// The newest ping of a watch, or why no more come.
private final class LatestPing: Sendable {
  private let ping = Mutex<Result<UInt64?, any Error>>(.success(nil))

  func set(_ number: UInt64) { ping.withLock { $0 = .success(number) } }
  func fail(_ error: any Error) { ping.withLock { $0 = .failure(error) } }

  /// - Throws: what the stream of requests ended with.
  func take() throws -> UInt64? {
    let taken = ping.withLock { ping in
      defer { if case .success = ping { ping = .success(nil) } }
      return ping
    }
    return try taken.get()
  }
}

extension KeelsonCacheV1.WatchInvalidationsResponse {
  fileprivate static func pong(_ ping: UInt64, age: Duration?) -> Self {
    var pong = KeelsonCacheV1.Pong()
    pong.ping = ping
    if let age {
      pong.age = .init(age)
      pong.inSync = true
    }
    var response = Self()
    response.event = .pong(pong)
    return response
  }
}
