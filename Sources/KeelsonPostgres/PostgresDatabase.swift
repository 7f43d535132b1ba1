package import KeelsonCore
package import KeelsonStore
package import KeelsonTransport
import Synchronization

/// The engine for several nodes: PostgreSQL through libpq's pipeline mode, one connection that
/// writes with group commit, one that hears of the changes of other nodes, and a pool of those that
/// read on each loop.
package final class PostgresDatabase: Database {
  package let dialect = Dialect.postgreSQL
  package let liveEvents: LiveEvents

  private let loop: Loop
  private let writer: PostgresWriter
  private let listener: ChangeListener
  private let pools: [ConnectionPool]
  private let nextPool = Atomic<Int>(0)
  private let state = Mutex(State())
  private let limits: PostgresConfiguration.Limits

  private struct State {
    var isClosed = false
    var writing: Task<Void, Never>?
    /// Why this node can follow the changes no more.
    var cutOff: StoreError?
  }

  /// Connects and checks that the server can be used.
  ///
  /// - Parameters:
  ///   - loops: where reads run, each on the loop that asks where it is one of these. They must
  ///     turn until ``close()`` has returned.
  ///   - onCutOff: called when this node can follow the changes of others no more, since they are
  ///     not kept any longer. What services hold in memory is out of date then: the process is to
  ///     be started anew.
  /// - Throws: ``StoreError`` whose message tells an admin what to do: misuse for an address that
  ///   is none, unreachable for a server, user, password or database that does not work.
  package static func open(
    _ configuration: PostgresConfiguration, loops: LoopGroup, logger: Logger,
    onCutOff: @escaping @Sendable () -> Void = {}
  ) async throws -> PostgresDatabase {
    let settings = try ConnectionSettings(
      url: configuration.url, connectTimeout: configuration.limits.connectTimeout)
    let loop = Loop()
    loop.start(name: "keelson-postgres")
    let database = PostgresDatabase(
      settings, configuration.limits, loop: loop, loops: loops, logger: logger,
      onCutOff: onCutOff)
    do {
      try await database.start(settings, logger)
    } catch {
      await database.close()
      throw error
    }
    return database
  }

  private init(
    _ settings: ConnectionSettings, _ limits: PostgresConfiguration.Limits, loop: Loop,
    loops: LoopGroup, logger: Logger, onCutOff: @escaping @Sendable () -> Void
  ) {
    self.limits = limits
    self.loop = loop
    let live = LiveEvents(limits: limits.liveEvents)
    liveEvents = live
    let published = PublishedChanges(live)
    let cutOff = CutOff(logger: logger, tell: onCutOff)
    let kept = KeptConnection("writes", settings, limits: limits, on: loop, logger: logger) {
      connection in
      let results = try await connection.run([Session.writer(limits), Session.place])
      try Session.checkIsPrimary(results.last, settings)
      connection.backendStart = try results.last?.rows.first?.get(1) ?? ""
      let process = try results.last?.rows.first?.get(2, as: Int.self)
      guard process == Int(connection.backendID) else {
        throw StoreError(
          .misuse,
          """
          \(settings.description) is a pooler that hands connections on between transactions \
          (PgBouncer for example). Name PostgreSQL itself, or have it pool by session.
          """)
      }
    }
    let writer = PostgresWriter(
      kept: kept, published: published, limits: limits, on: loop, logger: logger,
      onCutOff: { cutOff.happened($0) })
    self.writer = writer
    listener = ChangeListener(
      settings, published: published, limits: limits, on: loop, logger: logger,
      isOwn: { kept.backendID == $0 }, onCutOff: { cutOff.happened($0) })
    pools = loops.loops.map {
      ConnectionPool(settings, limits: limits, share: loops.loops.count, on: $0)
    }
    cutOff.database = self
  }

  /// `@unchecked Sendable`: `database` is set before the loop runs anything of it.
  private final class CutOff: @unchecked Sendable {
    weak var database: PostgresDatabase?
    let logger: Logger
    let tell: @Sendable () -> Void

    init(logger: Logger, tell: @escaping @Sendable () -> Void) {
      self.logger = logger
      self.tell = tell
    }

    func happened(_ error: StoreError) {
      logger.log(.error, error.message)
      let isFirst = database?.state.withLock { state in
        defer { state.cutOff = StoreError(.closed, error.message) }
        return state.cutOff == nil
      }
      guard isFirst == true else { return }
      // Whoever watches here would miss changes: they are to go to another server.
      database?.liveEvents.finish()
      tell()
    }
  }

  private func start(_ settings: ConnectionSettings, _ logger: Logger) async throws {
    try await withTaskExecutorPreference(loop) { [writer, pools] in
      // The readers need not find out by themselves.
      writer.kept.onOpen = {
        for pool in pools { pool.loop.execute { pool.serverIsBack() } }
      }
      try await writer.kept.start()
      try await Self.check(try await writer.kept.connection(), settings, logger)
    }
    let writing = Task(executorPreference: loop) { [writer] in await writer.run() }
    state.withLock { $0.writing = writing }
  }

  /// Looks at settings of the server that decide about what an acknowledgement is worth.
  private static func check(
    _ connection: PostgresConnection, _ settings: ConnectionSettings, _ logger: Logger
  ) async throws {
    let row = try await connection.run([
      SQLStatement(
        """
        SELECT current_setting('fsync'), current_setting('full_page_writes'),
          (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'),
          current_setting('server_encoding')
        """)
    ]).first?.rows.first
    guard let row else { return }
    let encoding: String = try row.get(3)
    guard encoding == "UTF8" else {
      throw StoreError(
        .misuse,
        """
        The database \(settings.description) has the encoding \(encoding); Keelson needs UTF8. \
        Create it with ENCODING 'UTF8' TEMPLATE template0.
        """)
    }
    if !connection.isEncrypted, !settings.mayBePlain {
      logger.log(
        .warning,
        "The connection to \(settings.description) is not encrypted, the data on it neither. Say "
          + "sslmode=verify-full, or sslmode=disable where that is meant.")
    }
    for (column, name) in [(0, "fsync"), (1, "full_page_writes")] where try row.get(column) == "off"
    {
      logger.log(
        .warning,
        "PostgreSQL runs with \(name) = off: a crash of its machine may lose acknowledged changes "
          + "or damage the database. Switch it on.")
    }
    if try row.get(2) == "off" {
      logger.log(
        .warning,
        "PostgreSQL runs with synchronous_commit = off; Keelson's connections switch it on, so "
          + "that nothing acknowledged is lost.")
    }
  }

  // MARK: Database

  /// Why this node can follow the changes of others no more; nil while it can.
  package var cutOff: StoreError? { state.withLock { $0.cutOff } }

  package var writeFailure: StoreError? { writer.shared.withLock { $0.diskFailure } }

  /// What it has done since it was opened, and what it does right now.
  package var statistics: PostgresStatistics {
    let shared = writer.shared.withLock { $0 }
    var statistics = PostgresStatistics()
    statistics.commits = shared.commits
    statistics.writes = shared.writes
    statistics.largestBatch = shared.largestBatch
    statistics.waitingWrites = shared.waiting
    statistics.writerIsConnected = writer.kept.status.isOpen
    statistics.listenerIsConnected = listener.status.isOpen
    statistics.connectionFailures = writer.kept.status.failures + listener.status.failures
    for pool in pools {
      let counts = pool.currentCounts
      statistics.openConnections += counts.open
      statistics.usedConnections += counts.used
      statistics.waitingReads += counts.waiting
      statistics.connectionFailures += counts.failures
    }
    return statistics
  }

  package func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    try checkIsOpen()
    let pool = pool()
    return try await withTaskExecutorPreference(pool.loop) {
      let lease = try await pool.lease()
      let transaction = PostgresTransaction(
        lease.connection, prefix: try beginning(releasing: lease, to: pool))
      defer { Self.end(transaction, lease, pool) }
      return try await withTaskCancellationHandler {
        try await PostgresTransaction.$current.withValue(transaction) {
          try await body(transaction)
        }
      } onCancel: {
        pool.loop.execute { transaction.cancel() }
      }
    }
  }

  /// What begins a read: with a deadline, the server ends its statements by then.
  private func beginning(
    releasing lease: ConnectionPool.Lease, to pool: ConnectionPool
  ) throws -> [SQLStatement] {
    guard let remaining = ServerContext.current?.deadline?.remaining else {
      return [SQLStatement("BEGIN")]
    }
    guard remaining > .zero else {
      pool.release(lease)
      throw StoreError(.timedOut, "The call's deadline had passed before its read began.")
    }
    return [
      SQLStatement("BEGIN"),
      Session.statementTimeout(min(remaining, limits.statementTimeout)),
    ]
  }

  private static func end(
    _ transaction: PostgresTransaction, _ lease: ConnectionPool.Lease, _ pool: ConnectionPool
  ) {
    _ = transaction.end()
    if transaction.wasCancelled, lease.connection.isBusy {
      pool.releaseAfterCancelling(lease)
      return
    }
    if transaction.hasBegun {
      // Nobody waits for it: whoever has the connection next sends its statements behind it.
      lease.connection.send([SQLStatement("COMMIT")]) { result in
        if case .failure(let error) = result { lease.connection.lose(error) }
      }
    }
    pool.release(lease)
  }

  @discardableResult
  package func write<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    try checkIsOpen()
    if let current = PostgresTransaction.current, current.isWrite, current.isRunning {
      throw StoreError(.misuse, "A write inside a write would wait for itself for ever.")
    }
    return try await withTaskExecutorPreference(loop) { [writer] in
      let (turn, transaction) = try await writer.turn()
      let outcome: Swift.Result<Result, any Error>
      do {
        outcome = .success(
          try await PostgresTransaction.$current.withValue(transaction) {
            try await body(transaction)
          })
      } catch {
        outcome = .failure(error)
      }
      var failure: (any Error)?
      if case .failure(let error) = outcome { failure = error }
      try await turn.waitForCommit(error: failure)
      return try outcome.get()
    }
  }

  package func migrate(_ sets: [MigrationSet]) async throws {
    try await allowLongStatements(true)
    let head: ChangeHead
    do {
      head = try await migrated(sets)
    } catch {
      // A connection that is lost has its limits anew.
      try? await allowLongStatements(false)
      throw error
    }
    try await allowLongStatements(false)
    liveEvents.start(at: head)
    try await withTaskExecutorPreference(loop) { [writer, listener] in
      try await writer.kept.connection().forgetStatements()
      guard writer.migrated(to: head) else { return }
      try await listener.start()
    }
  }

  /// A large table takes its time, and so does whoever changes it ahead of us.
  private func allowLongStatements(_ areAllowed: Bool) async throws {
    try await withTaskExecutorPreference(loop) { [writer, limits] in
      let connection = try await writer.kept.connection()
      connection.isStallWatched = !areAllowed
      try await connection.run([
        areAllowed
          ? SQLStatement("SELECT set_config('statement_timeout', '0', false)")
          : Session.writer(limits)
      ])
    }
  }

  private func migrated(_ sets: [MigrationSet]) async throws -> ChangeHead {
    try await write { transaction in
      let older = try await TextOrder.languageColumns(in: transaction)
      try await Migrator.run(
        [StoreMigrations.set, BatchMark.migrations] + sets, in: transaction, dialect: .postgreSQL)
      try await transaction.executeAll([BatchMark.removeOld])
      try await TextOrder.compareByBytes(allBut: older, in: transaction)
      return try await ChangeHead.current(in: transaction)
    }
  }

  package func close() async {
    let (isFirst, writing) = state.withLock { state in
      defer { state.isClosed = true }
      return (!state.isClosed, state.writing)
    }
    guard isFirst else { return }
    liveEvents.finish()
    await withTaskExecutorPreference(loop) { [writer] in
      writer.close()
      await writing?.value
    }
    // Not before: what is written until then has to be told before it is acknowledged.
    liveEvents.removeObservers()
    await withTaskExecutorPreference(loop) { [writer, listener] in
      listener.close()
      writer.kept.close()
    }
    for pool in pools { await withTaskExecutorPreference(pool.loop) { await pool.close() } }
    await loop.stop()
  }

  private func checkIsOpen() throws {
    let state = state.withLock { $0 }
    if let cutOff = state.cutOff { throw cutOff }
    if state.isClosed { throw StoreError.closedDatabase }
  }

  /// That of the calling loop, or any.
  private func pool() -> ConnectionPool {
    if let own = pools.first(where: { $0.loop.isCurrent }) { return own }
    return pools[nextPool.wrappingAdd(1, ordering: .relaxed).oldValue % pools.count]
  }
}
