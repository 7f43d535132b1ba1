import CLibPQ
import KeelsonStore
import KeelsonTransport

/// A connection in pipeline mode on a loop: groups of statements go out as they come, their results
/// come back in order. Each group ends with a Sync, so that an error in one does not reach the next.
///
/// `@unchecked Sendable`: touched on its loop only.
final class PostgresConnection: @unchecked Sendable {
  let loop: Loop
  /// The server's process that serves it.
  let backendID: Int32
  let isEncrypted: Bool
  /// Whether its statements are refused when they write.
  var isReader = false
  /// When that process began: numbers of processes are given again.
  var backendStart = ""
  /// Called once when the connection is lost, not when it is closed from here.
  var onLoss: ((StoreError) -> Void)?
  /// Called for each notification: its payload and the process that sent it.
  var onNotification: ((_ payload: String, _ sender: Int32) -> Void)?

  private let settings: ConnectionSettings
  private var handle: PostgresHandle?
  private var watch: DescriptorWatch?
  private var prepared: PreparedStatements
  private var expected = Deque<Expected>()
  /// Why it is of no more use; nil while it is.
  private(set) var failure: StoreError?
  /// When the server was last heard of while something was expected of it.
  private var lastProgress: UInt64 = 0
  private let patience: Duration
  /// Whether a server that says nothing for long is given up; not while tables are changed.
  var isStallWatched = true
  private var stallTimer: Loop.Timer?

  /// What comes back next.
  private enum Expected {
    /// The answer to a statement's preparation.
    case preparation(Group, sql: String)
    case result(Group, sql: String)
    /// The answer to letting go of a prepared statement, for which nobody waits.
    case release(Group, name: String)
    /// The end of a group.
    case end(Group)
  }

  /// The statements that were sent together.
  private final class Group {
    var results: [StatementResult] = []
    var error: StoreError?
    let completion: (Result<[StatementResult], StoreError>) -> Void

    init(completion: @escaping (Result<[StatementResult], StoreError>) -> Void) {
      self.completion = completion
    }
  }

  /// Connects. On the loop.
  ///
  /// - Throws: ``StoreError`` with code unreachable.
  static func open(
    _ settings: ConnectionSettings, limits: PostgresConfiguration.Limits, on loop: Loop
  ) async throws -> PostgresConnection {
    let handle = try await PostgresHandle.connect(settings)
    // A loop that has ended meanwhile runs its tasks elsewhere.
    guard loop.isCurrent else { throw StoreError.closedDatabase }
    return try PostgresConnection(handle, settings, limits: limits, on: loop)
  }

  private init(
    _ handle: PostgresHandle, _ settings: ConnectionSettings,
    limits: PostgresConfiguration.Limits, on loop: Loop
  ) throws {
    self.loop = loop
    self.settings = settings
    self.handle = handle
    backendID = unsafe PQbackendPID(handle.pointer)
    isEncrypted = unsafe PQsslInUse(handle.pointer) == 1
    prepared = PreparedStatements(limit: limits.preparedStatements)
    // The server ends a statement by itself; whoever does not even say so is gone.
    patience = limits.statementTimeout + .seconds(5)
    let descriptor = unsafe PQsocket(handle.pointer)
    do {
      watch = try DescriptorWatch(fileDescriptor: descriptor, on: loop) { [unowned self] events in
        isReady(events)
      }
    } catch {
      throw StoreError(.io, error.description, cause: error)
    }
    watch?.wait(for: .readable)
  }

  deinit {
    assert(handle == nil, "a connection is closed on its loop before it goes")
  }

  /// Whether it can be used.
  var isOpen: Bool { handle != nil }

  /// Whether answers are on their way.
  var isBusy: Bool { !expected.isEmpty }

  /// Sends statements together and returns their results once all are there. On the loop.
  ///
  /// - Throws: the error of the first that failed, whose kin behind it did not run; unreachable
  ///   when the connection is lost.
  @discardableResult
  func run(_ commands: [SQLStatement]) async throws -> [StatementResult] {
    try await withCheckedThrowingContinuation { continuation in
      send(commands) { continuation.resume(with: $0) }
    }
  }

  /// Sends statements together. On the loop.
  func send(
    _ commands: [SQLStatement],
    completion: @escaping (Result<[StatementResult], StoreError>) -> Void
  ) {
    guard let handle else {
      completion(.failure(failure ?? .closedDatabase))
      return
    }
    let encoded: [PostgresParameters]
    do {
      encoded = try commands.map { try PostgresParameters($0.parameters, sql: $0.sql) }
    } catch {
      completion(.failure(error as? StoreError ?? StoreError(.misuse, "\(error)")))
      return
    }
    let group = Group(completion: completion)
    if expected.isEmpty { lastProgress = loop.now }
    for (command, parameters) in zip(commands, encoded) {
      let plan = prepared.plan(for: command.sql)
      for released in plan.released {
        let sql = "DEALLOCATE \(released)"
        let status = unsafe PQsendQueryParams(handle.pointer, sql, 0, nil, nil, nil, nil, 1)
        guard status == 1 else {
          return refuse(group)
        }
        expected.append(.release(group, name: released))
      }
      if plan.isNew {
        guard unsafe PQsendPrepare(handle.pointer, plan.name, command.sql, 0, nil) == 1 else {
          return refuse(group)
        }
        expected.append(.preparation(group, sql: command.sql))
      }
      let status = unsafe parameters.withPointers { count, pointers, lengths, formats in
        unsafe PQsendQueryPrepared(
          handle.pointer, plan.name, count, pointers, lengths, formats, 1)
      }
      guard status == 1 else { return refuse(group) }
      expected.append(.result(group, sql: command.sql))
    }
    guard unsafe PQpipelineSync(handle.pointer) == 1 else { return refuse(group) }
    expected.append(.end(group))
    flush()
    watchForStall()
  }

  /// Has the server forget all statements, whose tables may have changed. On the loop.
  func forgetStatements() async throws {
    prepared.removeAll()
    try await run([SQLStatement("DEALLOCATE ALL")])
    // This one was forgotten with the others.
    prepared.removeAll()
  }

  /// Closes the connection; what is on its way fails. Calling it again does nothing.
  func close(_ error: StoreError = .closedDatabase) {
    guard handle != nil else { return }
    failure = error
    if let stallTimer { loop.cancel(stallTimer) }
    stallTimer = nil
    // First the watch, then the descriptor.
    watch?.close()
    watch = nil
    handle = nil
    onLoss = nil
    onNotification = nil
    let groups = expected
    expected = Deque()
    for offset in 0..<groups.count {
      if case .end(let group) = groups[offset] { group.completion(.failure(group.error ?? error)) }
    }
  }

  /// Closes it as one that is of no more use, so that another takes its place.
  func lose(_ error: StoreError) {
    let onLoss = onLoss
    close(error)
    onLoss?(error)
  }

  /// Something to ask the server with to end what runs.
  func cancellation() -> CancellationRequest? { handle.map(CancellationRequest.init) }

  // MARK: The socket

  private func isReady(_ events: DescriptorWatch.Events) {
    // The last reference may go with a completion that is called here.
    withExtendedLifetime(self) {
      if events.contains(.writable) { flush() }
      if events.contains(.readable) { receive() }
    }
  }

  private func flush() {
    guard let handle else { return }
    switch unsafe PQflush(handle.pointer) {
    case 0: watch?.wait(for: .readable)
    case 1: watch?.wait(for: [.readable, .writable])
    default:
      // What the server said before it hung up may still be there to read.
      receive()
      lose()
    }
  }

  private func receive() {
    guard let handle else { return }
    var isAlive = true
    repeat {
      isAlive = unsafe PQconsumeInput(handle.pointer) == 1
      lastProgress = loop.now
      takeResults(handle)
      guard self.handle != nil else { return }
    } while unsafe isAlive && keelson_pg_tls_pending(handle.pointer) > 0
    while let notification = unsafe PQnotifies(handle.pointer) {
      let payload = unsafe String(cString: notification.pointee.extra)
      let sender = unsafe notification.pointee.be_pid
      unsafe PQfreemem(notification)
      onNotification?(payload, sender)
    }
    let isBad = unsafe PQstatus(handle.pointer) == CONNECTION_BAD
    if !isAlive || isBad { lose() }
  }

  private func takeResults(_ handle: PostgresHandle) {
    // Only as many answers as are owed: libpq has bugs in which a broken connection answers
    // without end.
    while self.handle != nil, let next = expected.first, !isAnswerMissing(handle) {
      guard let result = unsafe PQgetResult(handle.pointer) else {
        // Each statement's results end with a null; a group's end has none.
        if case .end = next { return }
        _ = expected.popFirst()
        continue
      }
      defer { unsafe PQclear(result) }
      unsafe take(result, for: next)
    }
  }

  /// Whether taking the next answer would wait for it.
  private func isAnswerMissing(_ handle: PostgresHandle) -> Bool {
    unsafe PQisBusy(handle.pointer) == 1
  }

  private func take(_ result: OpaquePointer, for next: Expected) {
    let status = unsafe PQresultStatus(result)
    switch next {
    case .end(let group):
      guard status == PGRES_PIPELINE_SYNC else {
        if status == PGRES_FATAL_ERROR, group.error == nil {
          group.error = unsafe StoreError.postgres(result, sql: "")
        }
        return
      }
      _ = expected.popFirst()
      group.completion(group.error.map { .failure($0) } ?? .success(group.results))
    case .release(let group, let name):
      guard status != PGRES_COMMAND_OK else { return }
      // In a group or a transaction that has failed: the server still has it.
      prepared.owe(name)
      if status == PGRES_FATAL_ERROR, group.error == nil {
        group.error = unsafe StoreError.postgres(result, sql: "DEALLOCATE \(name)")
      }
    case .preparation(let group, let sql):
      guard status != PGRES_COMMAND_OK else { return }
      prepared.forget(sql, isOnServer: false)
      if status == PGRES_FATAL_ERROR, group.error == nil {
        group.error = unsafe StoreError.postgres(result, sql: sql)
      }
    case .result(let group, let sql):
      switch status {
      case PGRES_TUPLES_OK, PGRES_COMMAND_OK: unsafe keep(result, in: group, sql: sql)
      case PGRES_PIPELINE_ABORTED: break
      default: unsafe failed(result, group, sql)
      }
    }
  }

  private func failed(_ result: OpaquePointer, _ group: Group, _ sql: String) {
    let error = unsafe StoreError.postgres(result, sql: sql)
    let state = unsafe StoreError.sqlState(of: result)
    if group.error == nil { group.error = error }
    switch state {
    case "26000": prepared.forget(sql, isOnServer: false)
    // The tables have changed that it was made for.
    case "0A000": prepared.forget(sql, isOnServer: true)
    // The server became a standby, or is kept from changes: another connection may find the one
    // that takes them.
    case "25006" where !isReader:
      let reason = StoreError.unreachable(
        "The server of \(settings.description) takes no changes: \(error.message)")
      group.error = reason
      lose(reason)
    default: break
    }
  }

  private func keep(_ result: OpaquePointer, in group: Group, sql: String) {
    do {
      let known = prepared.columns(of: sql)
      let taken = try unsafe StatementResult(result, columns: known, sql: sql)
      if known == nil, let columns = taken.rows.first?.columns {
        prepared.setColumns(columns, of: sql)
      }
      group.results.append(taken)
    } catch {
      group.error = group.error ?? error as? StoreError
      group.results.append(StatementResult())
    }
  }

  // MARK: Loss

  /// A call of libpq's did not take a statement.
  private func refuse(_ group: Group) {
    let completion = group.completion
    lose()
    completion(.failure(failure ?? .closedDatabase))
  }

  private func lose() {
    guard let handle else { return }
    let said = lastError
    let message = said ?? settings.safe(unsafe String(cString: PQerrorMessage(handle.pointer)))
    lose(.unreachable("The connection to \(settings.description) was lost: \(message)."))
  }

  /// What the server gave as its reason in the answer to a statement.
  private var lastError: String? {
    for offset in 0..<expected.count {
      if case .end(let group) = expected[offset], let error = group.error,
        error.code == .unreachable
      {
        return error.message
      }
    }
    return nil
  }

  private func watchForStall() {
    // Sending may have lost it.
    guard isOpen, stallTimer == nil else { return }
    stallTimer = loop.schedule(after: patience) { [unowned self] in
      stallTimer = nil
      guard !expected.isEmpty else { return }
      guard !isStallWatched || loop.now < lastProgress + UInt64(patience / .milliseconds(1)) else {
        lose(
          .unreachable(
            "\(settings.description) has not answered for \(patience): the connection was closed."))
        return
      }
      watchForStall()
    }
  }
}
