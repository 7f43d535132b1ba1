import KeelsonCore
import KeelsonStore
import KeelsonTransport
import Synchronization

/// The connections for reading that live on one loop.
///
/// `@unchecked Sendable`: touched on its loop only, but for `counts`, which has its own lock.
final class ConnectionPool: @unchecked Sendable {
  struct Counts: Sendable {
    var open = 0
    var used = 0
    var waiting = 0
    var failures = 0
  }

  let loop: Loop
  private let settings: ConnectionSettings
  private let limits: PostgresConfiguration.Limits
  private var machine: PoolStateMachine
  private var connections: [PoolStateMachine.ConnectionID: PostgresConnection] = [:]
  /// Those that are not ready yet.
  private var preparing: [PoolStateMachine.ConnectionID: PostgresConnection] = [:]
  private var isClosing = false
  private var waiting: [PoolStateMachine.RequestID: CheckedContinuation<Lease, any Error>] = [:]
  private var backoff: Backoff
  private var lastFailure: StoreError?
  private var nextRequest: PoolStateMachine.RequestID = 0
  private var failures = 0
  private var timers: Set<Loop.Timer> = []
  private var idleTimer: Loop.Timer?
  private var emptied: CheckedContinuation<Void, Never>?
  /// How many connections are being made: each has a handle on the loop, which keeps it from
  /// ending.
  private var connecting = 0
  private let counts = Mutex(Counts())

  /// A connection that one read has for itself.
  struct Lease: Sendable {
    let id: PoolStateMachine.ConnectionID
    let connection: PostgresConnection
  }

  init(
    _ settings: ConnectionSettings, limits: PostgresConfiguration.Limits, share: Int, on loop: Loop
  ) {
    self.settings = settings
    self.limits = limits
    self.loop = loop
    machine = PoolStateMachine(
      limit: max(1, limits.readConnections / share),
      waitingLimit: max(1, limits.waitingReads / share))
    backoff = Backoff(shortest: .milliseconds(50), longest: limits.longestRetryDelay)
  }

  /// What it has right now; good from any thread.
  var currentCounts: Counts { counts.withLock { $0 } }

  /// Waits for a connection. On the loop.
  ///
  /// - Throws: ``StoreError`` with code unreachable, at once, while the server cannot be reached;
  ///   overloaded; closed. `CancellationError`.
  func lease() async throws -> Lease {
    nextRequest += 1
    let id = nextRequest
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        waiting[id] = continuation
        if Task.isCancelled { giveUp(id) } else { perform(machine.request(id)) }
      }
    } onCancel: {
      loop.execute { [self] in
        _ = machine.giveUp(id)
        giveUp(id)
      }
    }
  }

  private func giveUp(_ id: PoolStateMachine.RequestID) {
    waiting.removeValue(forKey: id)?.resume(throwing: CancellationError())
    updateCounts()
  }

  /// Gives a connection back whose transaction has ended. On the loop.
  func release(_ lease: Lease) {
    guard lease.connection.isOpen else { return }
    perform(machine.released(lease.id, now: loop.now))
  }

  /// Gives a connection back in which something may still run: it is cancelled and rolled back
  /// first. On the loop.
  func releaseAfterCancelling(_ lease: Lease) {
    guard lease.connection.isOpen else { return }
    let connection = lease.connection
    let timer = loop.schedule(after: .seconds(5)) { [self] in
      // A server that does not even cancel.
      drop(lease, .unreachable("The server did not end a statement that was cancelled."))
    }
    timers.insert(timer)
    Task(executorPreference: loop) { [self] in
      if connection.isBusy { await connection.cancellation()?.send() }
      // The first may still be hit by the cancellation; a cancelled ROLLBACK comes again.
      var isRolledBack = false
      for _ in 0..<2 where !isRolledBack {
        isRolledBack = (try? await connection.run([SQLStatement("ROLLBACK")])) != nil
      }
      timers.remove(timer)
      loop.cancel(timer)
      guard isRolledBack else {
        return drop(lease, .unreachable("A read that was cancelled could not be rolled back."))
      }
      release(lease)
    }
  }

  /// The server can be reached again: whoever reads waits for a connection and is not refused. On
  /// the loop.
  func serverIsBack() {
    perform(machine.serverIsBack())
  }

  private func drop(_ lease: Lease, _ error: StoreError) {
    lease.connection.close(error)
    connections[lease.id] = nil
    perform(machine.lost(lease.id))
  }

  /// Closes what nobody uses, waits for the reads under way and for connections that are being
  /// made, and closes them. On the loop.
  func close() async {
    isClosing = true
    perform(machine.close())
    for connection in preparing.values { connection.close() }
    if let idleTimer { loop.cancel(idleTimer) }
    idleTimer = nil
    guard !isEmpty else { return }
    await withCheckedContinuation { emptied = $0 }
    for timer in timers { loop.cancel(timer) }
    timers = []
  }

  private func perform(_ actions: [PoolStateMachine.Action]) {
    for action in actions {
      switch action {
      case .connect(let id): connect(id)
      case .grant(let request, let id):
        guard let connection = connections[id], let waiter = waiting.removeValue(forKey: request)
        else {
          // Nobody waits any more: the connection goes to the next.
          perform(machine.released(id, now: loop.now))
          continue
        }
        waiter.resume(returning: Lease(id: id, connection: connection))
      case .refuse(let request, let refusal):
        waiting.removeValue(forKey: request)?.resume(throwing: error(of: refusal))
      case .close(let id):
        connections.removeValue(forKey: id)?.close()
      case .scheduleRetry:
        let pause = backoff.pause()
        var timer: Loop.Timer?
        timer = loop.schedule(after: pause) { [self] in
          if let timer { timers.remove(timer) }
          perform(machine.retryIsDue())
        }
        if let timer { timers.insert(timer) }
      case .resetRetry: backoff.reset()
      }
    }
    updateCounts()
  }

  private func error(of refusal: PoolStateMachine.Refusal) -> StoreError {
    switch refusal {
    case .overloaded:
      StoreError(
        .overloaded,
        "\(machine.waitingLimit) reads wait for a connection already, the most that may; try later."
      )
    case .unreachable: lastFailure ?? .unreachable("The database cannot be reached.")
    case .closed: .closedDatabase
    }
  }

  private var isEmpty: Bool { connections.isEmpty && connecting == 0 }

  private func connect(_ id: PoolStateMachine.ConnectionID) {
    connecting += 1
    Task(executorPreference: loop) { [self] in
      do {
        let connection = try await PostgresConnection.open(settings, limits: limits, on: loop)
        guard !isClosing else {
          connection.close()
          throw StoreError.closedDatabase
        }
        preparing[id] = connection
        do {
          defer { preparing[id] = nil }
          let results = try await connection.run([Session.reader(limits), Session.place])
          try Session.checkIsPrimary(results.last, settings)
          connection.isReader = true
          guard connection.isOpen else { throw StoreError.closedDatabase }
        } catch {
          connection.close()
          throw error
        }
        connection.onLoss = { [unowned self] error in
          failures += 1
          lastFailure = error
          connections[id] = nil
          perform(machine.lost(id))
        }
        connections[id] = connection
        connecting -= 1
        perform(machine.connected(id, now: loop.now))
        scheduleIdleCheck()
      } catch {
        guard loop.isCurrent else { return }
        connecting -= 1
        failures += 1
        lastFailure = error as? StoreError
        perform(machine.connectingFailed(id))
      }
    }
  }

  private func scheduleIdleCheck() {
    guard idleTimer == nil else { return }
    idleTimer = loop.schedule(after: limits.idleConnectionTimeout) { [self] in
      idleTimer = nil
      let timeout = UInt64(limits.idleConnectionTimeout / .milliseconds(1))
      perform(machine.closeIdle(since: loop.now > timeout ? loop.now - timeout : 0))
      if connections.count > 1 { scheduleIdleCheck() }
    }
  }

  private func updateCounts() {
    counts.withLock { counts in
      counts = Counts(
        open: machine.openCount, used: machine.usedCount, waiting: machine.waitingCount,
        failures: failures)
    }
    if isEmpty, let emptied {
      self.emptied = nil
      emptied.resume()
    }
  }
}
