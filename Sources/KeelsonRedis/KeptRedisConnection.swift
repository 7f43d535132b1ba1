import KeelsonCore
import KeelsonTransport
import Synchronization

/// One connection that is made anew whenever it is lost, with pauses that grow.
///
/// `@unchecked Sendable`: touched on its loop only, but for `shared`, which has its own lock.
final class KeptRedisConnection: @unchecked Sendable {
  private struct Shared {
    var connection: RedisConnection?
    var failure = RedisError(.unreachable, "There is no connection to Redis yet.")
  }

  let loop: Loop
  private let connector: RedisConnector
  private let logger: Logger
  private var backoff: Backoff
  private var attempting: ConnectAttempt?
  private var timer: Loop.Timer?
  private var isClosed = false
  private let shared = Mutex(Shared())

  init(_ connector: RedisConnector, on loop: Loop, logger: Logger) {
    self.connector = connector
    self.loop = loop
    self.logger = logger
    backoff = Backoff(
      shortest: RedisConfiguration.shortestRetryDelay,
      longest: connector.configuration.limits.longestRetryDelay)
  }

  /// The connection, while there is one; good from any thread.
  var current: RedisConnection? { shared.withLock { $0.connection } }

  /// Why there was none when last one was tried to be made; good from any thread.
  var failure: RedisError { shared.withLock { $0.failure } }

  /// Makes the first attempt, and returns when it has ended. On the loop.
  func start() async { await attempt() }

  /// Closes it for good. On the loop.
  func close() {
    isClosed = true
    if let timer { loop.cancel(timer) }
    timer = nil
    attempting?.cancel()
    let connection = shared.withLock { shared in
      defer { shared.connection = nil }
      shared.failure = .shuttingDown
      return shared.connection
    }
    connection?.close()
  }

  private func attempt() async {
    guard !isClosed else { return }
    let attempt = connector.attempt(on: loop)
    attempting = attempt
    do throws(RedisError) {
      let connection = try await attempt.run()
      attempting = nil
      guard !isClosed else { return connection.close() }
      connection.onLoss = { [weak self] error in self?.lost(error) }
      shared.withLock { $0.connection = connection }
      backoff.reset()
    } catch {
      attempting = nil
      guard !isClosed else { return }
      shared.withLock { $0.failure = error }
      tryLater()
    }
  }

  private func lost(_ error: RedisError) {
    shared.withLock { shared in
      shared.connection = nil
      shared.failure = error
    }
    logger.log(.debug, error.message)
    tryLater()
  }

  private func tryLater() {
    guard !isClosed, timer == nil else { return }
    timer = loop.schedule(after: backoff.pause()) { [weak self] in
      guard let self else { return }
      timer = nil
      Task(executorPreference: loop) { [self] in await attempt() }
    }
  }
}
