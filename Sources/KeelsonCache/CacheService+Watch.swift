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
      for try await request in requests {
        counters.add(Int(clamping: request.nearHits), to: .nearHits)
        if request.ping != 0 {
          ping.set(request.ping)
          wakeup.set()
        }
      }
    }
    defer { listening.cancel() }
    var position: Int?
    while true {
      // The order matters: what was void at the time of `age` is in what is delivered after it.
      let asked = ping.take()
      let age = asked == nil ? nil : engine.age(at: .now)
      let delivery = feed.delivery(at: position)
      if let start = delivery.start { try await responses.write(.start(start, isFallback)) }
      for message in delivery.messages { try await responses.write(encoded: message) }
      position = delivery.next
      if let asked { try await responses.write(.pong(asked, age: age)) }
      guard await wakeup.wait() else {
        try Task.checkCancellation()
        throw RPCError(
          .unavailable, "The server is stopping; connect again.",
          details: [.retryInfo(.milliseconds(100))])
      }
    }
  }

  private var isFallback: Bool { fallback?.isActive ?? false }
}

/// The newest ping of a watch.
private final class LatestPing: Sendable {
  private let ping = Mutex<UInt64?>(nil)

  func set(_ number: UInt64) { ping.withLock { $0 = number } }
  func take() -> UInt64? { ping.withLock { $0.take() } }
}

extension KeelsonCacheV1.WatchInvalidationsResponse {
  fileprivate static func start(_ position: CachePosition, _ isFallback: Bool) -> Self {
    var start = KeelsonCacheV1.InvalidationStart()
    start.epoch = position.epoch
    start.sequence = position.sequence
    start.fallback = isFallback
    var response = Self()
    response.event = .start(start)
    return response
  }

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
