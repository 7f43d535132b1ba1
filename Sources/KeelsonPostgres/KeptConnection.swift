import KeelsonCore
import KeelsonStore
import KeelsonTransport
import Synchronization

/// One connection that is made anew whenever it is lost, with pauses that grow.
///
/// `@unchecked Sendable`: touched on its loop only, but for `sharedStatus`, which has its own lock.
final class KeptConnection: @unchecked Sendable {
  private enum State {
    /// An attempt is under way, the first since it was lost. Can transition to: open, down, closed.
    case connecting
    /// Can transition to: connecting (when it is lost), closed.
    case open(PostgresConnection)
    /// The last attempt failed; others follow. Can transition to: open, down, closed.
    case down(StoreError)
    case closed
  }

  struct Status: Sendable {
    var isOpen = false
    /// Attempts that failed and connections that were lost.
    var failures = 0
  }

  private let settings: ConnectionSettings
  private let limits: PostgresConfiguration.Limits
  private let loop: Loop
  private let logger: Logger
  private let name: String
  /// Makes a connection ready; what it throws has the connection made anew.
  private let prepare: (PostgresConnection) async throws -> Void
  private var state = State.connecting {
    didSet { updateStatus() }
  }
  /// One that is not ready yet.
  private var preparing: PostgresConnection?
  private var backoff: Backoff
  private var waiting: [CheckedContinuation<Void, Never>] = []
  private var retryTimer: Loop.Timer?
  private var failures = 0
  private let sharedStatus = Mutex(Status())
  var onOpen: (() -> Void)?
  /// Called for each attempt that fails after it was lost.
  var onDown: ((StoreError) -> Void)?

  /// - Parameter name: what it is for, in the log.
  init(
    _ name: String, _ settings: ConnectionSettings, limits: PostgresConfiguration.Limits,
    on loop: Loop, logger: Logger, prepare: @escaping (PostgresConnection) async throws -> Void
  ) {
    self.name = name
    self.settings = settings
    self.limits = limits
    self.loop = loop
    self.logger = logger
    self.prepare = prepare
    backoff = Backoff(shortest: .milliseconds(50), longest: limits.longestRetryDelay)
  }

  /// How it is; good from any thread.
  var status: Status { sharedStatus.withLock { $0 } }

  var isOpen: Bool { if case .open = state { true } else { false } }

  /// The server's process that serves it; nil while there is none.
  var backendID: Int32? {
    if case .open(let connection) = state { connection.backendID } else { nil }
  }

  /// Why there is none, once an attempt has failed; nil while there is one or the first attempt
  /// is under way.
  var downReason: StoreError? { if case .down(let error) = state { error } else { nil } }

  /// Makes the first attempt. On the loop.
  ///
  /// - Throws: ``StoreError`` when it fails; nothing is tried again then.
  func start() async throws {
    do {
      try await attempt()
    } catch {
      state = .closed
      throw error
    }
  }

  /// The connection; waits for the first attempt since it was lost. On the loop.
  ///
  /// - Throws: ``StoreError`` with code unreachable, at once, while attempts fail; closed.
  func connection() async throws -> PostgresConnection {
    while true {
      switch state {
      case .open(let connection): return connection
      case .down(let error): throw error
      case .closed: throw StoreError.closedDatabase
      case .connecting: await withCheckedContinuation { waiting.append($0) }
      }
    }
  }

  /// Closes it for good. On the loop.
  func close() {
    if case .open(let connection) = state { connection.close() }
    state = .closed
    preparing?.close()
    if let retryTimer { loop.cancel(retryTimer) }
    retryTimer = nil
    onOpen = nil
    onDown = nil
    wake()
  }

  private var isClosed: Bool { if case .closed = state { true } else { false } }

  private func attempt() async throws {
    let connection = try await PostgresConnection.open(settings, limits: limits, on: loop)
    guard !isClosed else {
      connection.close()
      throw StoreError.closedDatabase
    }
    preparing = connection
    defer { preparing = nil }
    do {
      try await prepare(connection)
    } catch {
      connection.close()
      throw error
    }
    guard !isClosed, connection.isOpen else {
      connection.close()
      throw StoreError.closedDatabase
    }
    connection.onLoss = { [weak self] error in self?.lost(error) }
    state = .open(connection)
    backoff.reset()
    wake()
    onOpen?()
  }

  private func lost(_ error: StoreError) {
    guard !isClosed else { return }
    failures += 1
    logger.log(.warning, "Lost the connection that \(name): \(error.message)")
    state = .connecting
    tryAgain()
  }

  private func tryAgain() {
    Task(executorPreference: loop) { [self] in
      do {
        try await attempt()
        logger.log(.info, "There is a connection again that \(name).")
      } catch {
        guard !isClosed else { return }
        failures += 1
        let error = error as? StoreError ?? .unreachable("\(error)")
        if downReason == nil {
          logger.log(.warning, "No connection that \(name); trying again: \(error.message)")
        }
        state = .down(error)
        onDown?(error)
        wake()
        retryTimer = loop.schedule(after: backoff.pause()) { [self] in
          retryTimer = nil
          tryAgain()
        }
      }
    }
  }

  private func updateStatus() {
    let (isOpen, failures) = (isOpen, failures)
    sharedStatus.withLock { $0 = Status(isOpen: isOpen, failures: failures) }
  }

  private func wake() {
    let woken = waiting
    waiting = []
    for continuation in woken { continuation.resume() }
  }
}
