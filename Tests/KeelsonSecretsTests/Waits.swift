import KeelsonHTTP
import Synchronization

@testable import KeelsonSecrets

/// Times that a retrying client waited, instead of waiting.
final class Waits: Sendable {
  private let waited = Mutex<[Duration]>([])

  var all: [Duration] { waited.withLock { $0 } }

  func wait(_ duration: Duration) { waited.withLock { $0.append(duration) } }

  /// A client that really sends, and only says how long it would wait.
  func client(
    passing: Set<Int> = RetryingClient.usuallyPassing,
    _ change: (inout HTTPOptions) -> Void = { _ in }
  ) -> RetryingClient {
    var options = HTTPOptions()
    options.timeout = .seconds(20)
    change(&options)
    return RetryingClient(CurlClient(options), passing: passing) { self.wait($0) }
  }
}

/// A clock that goes forward when told.
final class HandClock: Sendable {
  private let ahead = Mutex<Duration>(.zero)
  private let start = ContinuousClock.now

  var now: ContinuousClock.Instant { start.advanced(by: ahead.withLock { $0 }) }

  func advance(_ duration: Duration) { ahead.withLock { $0 += duration } }
}
