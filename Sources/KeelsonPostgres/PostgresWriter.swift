import KeelsonCore
import KeelsonStore
import KeelsonTransport
import Synchronization

/// Writes, with group commit: what waits when the writer comes round becomes one transaction and
/// shares its flush to the server's disk. Each member is a savepoint, so one that fails takes back
/// its own statements only. What they record of changes is written once for all of them
/// (``BatchRecord``). All are answered once the commit is durable.
///
/// One lock in the database is held by whoever writes, on all nodes together: so commits come in
/// the order of their revisions, and nodes cannot deadlock.
///
/// `@unchecked Sendable`: touched on its loop only, but for `shared`, which has its own lock.
final class PostgresWriter: @unchecked Sendable {
  /// What other threads look at.
  struct Shared: Sendable {
    var commits = 0
    var writes = 0
    var largestBatch = 0
    var waiting = 0
    var diskFailure: StoreError?
  }

  /// Waits for the lock and holds it until the transaction ends. The key is "KEELSON" as a number.
  static let lock = SQLStatement(
    "SELECT pg_advisory_xact_lock($1)", [.integer(0x4B_4545_4C53_4F4E)])
  /// Where nodes tell one another of changes.
  static let channel = "keelson_changes"

  let loop: Loop
  let kept: KeptConnection
  let shared = Mutex(Shared())
  /// Whether the tables of the store are there.
  private var isMigrated = false
  private let limits: PostgresConfiguration.Limits
  private let published: PublishedChanges
  private let logger: Logger
  /// Called when this node can follow the changes no more.
  private let onCutOff: (StoreError) -> Void
  private var mark = BatchMark()
  private var waiting = Deque<WriteTurn>()
  private var waitingCount = 0
  private var isClosed = false
  private var sleeper: CheckedContinuation<Void, Never>?

  init(
    kept: KeptConnection, published: PublishedChanges, limits: PostgresConfiguration.Limits,
    on loop: Loop, logger: Logger, onCutOff: @escaping (StoreError) -> Void
  ) {
    self.kept = kept
    self.published = published
    self.limits = limits
    self.loop = loop
    self.logger = logger
    self.onCutOff = onCutOff
  }

  /// The tables of the store are there, with this head. On the loop.
  ///
  /// - Returns: whether they were not before.
  func migrated(to head: ChangeHead) -> Bool {
    published.note(head)
    defer { isMigrated = true }
    return !isMigrated
  }

  // MARK: Callers

  /// Waits for a turn. On the loop.
  ///
  /// - Throws: ``StoreError`` with code unreachable, at once, while the server cannot be reached;
  ///   overloaded; closed. `CancellationError` when the task is cancelled before its turn came.
  func turn() async throws -> (turn: WriteTurn, transaction: PostgresTransaction) {
    guard !isClosed else { throw StoreError.closedDatabase }
    if let reason = kept.downReason { throw reason }
    guard waitingCount < limits.waitingWrites else {
      throw StoreError(
        .overloaded,
        "\(limits.waitingWrites) writes wait already, the most that may; try later.")
    }
    let slot = TurnSlot()
    let transaction = try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let turn = WriteTurn(continuation, deadline: ServerContext.current?.deadline)
        slot.turn = turn
        guard !Task.isCancelled else { return turn.refuse(CancellationError()) }
        waiting.append(turn)
        count(1)
        sleeper?.resume()
        sleeper = nil
      }
    } onCancel: {
      loop.execute { [self] in
        guard let turn = slot.turn, turn.isWaiting else { return }
        turn.refuse(CancellationError())
        count(-1)
      }
    }
    guard let turn = slot.turn else { throw StoreError.closedDatabase }
    return (turn, transaction)
  }

  /// Carries a turn out of the closure that makes it.
  ///
  /// `@unchecked Sendable`: touched on the writer's loop only.
  private final class TurnSlot: @unchecked Sendable {
    var turn: WriteTurn?
  }

  private func count(_ change: Int) {
    waitingCount += change
    let count = waitingCount
    shared.withLock { $0.waiting = count }
  }

  /// Refuses new writes; ``run()`` returns once those that wait are done. On the loop.
  func close() {
    isClosed = true
    sleeper?.resume()
    sleeper = nil
  }

  // MARK: Batches

  /// Commits batch after batch until closed and empty.
  func run() async {
    // Nobody waits for a server that is gone, not even behind a commit whose outcome is looked for.
    kept.onDown = { [weak self] error in self?.refuseWaiting(error) }
    while true {
      while waitingCount == 0 {
        waiting = Deque()
        if isClosed { return }
        await withCheckedContinuation { sleeper = $0 }
      }
      do {
        let connection = try await kept.connection()
        await commitBatch(on: connection)
      } catch {
        refuseWaiting(error)
      }
    }
  }

  private func refuseWaiting(_ error: any Error) {
    while let turn = popWaiting() { turn.refuse(error) }
  }

  private func popWaiting() -> WriteTurn? {
    while let turn = waiting.popFirst() {
      guard turn.isWaiting else { continue }
      count(-1)
      guard turn.isLate else { return turn }
      turn.refuse(
        StoreError(.timedOut, "The call's deadline passed while its write waited for its turn."))
    }
    return nil
  }

  /// A member of the batch whose body has run.
  private struct Member {
    let turn: WriteTurn
    var error: (any Error)?
    /// Whether it ran a statement, and may have written.
    var mayHaveWritten = false
    var committed = Committed()
  }

  private func commitBatch(on connection: PostgresConnection) async {
    var members: [Member] = []
    do {
      var record = BatchRecord(head: try await begin(on: connection))
      let pending = await gather(into: &members, &record, on: connection)
      var committed = Committed()
      for member in members { committed.append(member.committed) }
      let isMarked = isMigrated && members.contains(where: \.mayHaveWritten)
      if try await commit(pending + record.statements, committed, isMarked, on: connection) {
        finish(members, committed, record.head)
        return
      }
      throw connection.failure ?? StoreError(.unreachable, "The commit was lost.")
    } catch {
      let error = error as? StoreError ?? StoreError(.misuse, "\(error)")
      note(failure: error)
      await rollBack(connection)
      for member in members { member.turn.finish(error) }
      // Nobody's turn had come; whoever waits longer than the server may hold us up is told.
      if members.isEmpty, error.code != .unreachable {
        logger.log(.warning, "A batch of writes could not begin: \(error)")
        refuseWaiting(error)
      }
    }
  }

  /// How often the lock is given back because much has to be caught up with, before that is done
  /// under it.
  private static let catchUpRounds = 5

  /// Takes the lock, and tells the observers what other nodes have done until now.
  ///
  /// - Returns: where the changes stand; nil before the tables are there.
  private func begin(on connection: PostgresConnection) async throws -> ChangeHead? {
    guard isMigrated else {
      try await lock(connection, [])
      return nil
    }
    for round in 0... {
      let row = try await lock(connection, [PublishedChanges.head])?.rows.first
      guard let row else {
        throw StoreError(.corrupt, "The table change_sequence has lost its row.")
      }
      let head = try ChangeHead.head(row, clock: PublishedChanges.clockColumn)
      do {
        try published.check(head)
        if head.revision == published.revision { return head }
        let isFar = head.revision - published.revision > PublishedChanges.pageSize
        let mayWait = isFar && round < Self.catchUpRounds
        // The other nodes go on meanwhile.
        if mayWait { try await connection.run([SQLStatement("ROLLBACK")]) }
        try await published.catchUp(on: connection)
        if !mayWait { return head }
      } catch let error as StoreError where error.code == .revisionTooOld {
        onCutOff(error)
        throw error
      }
    }
    return nil
  }

  /// - Throws: ``StoreError`` with code busy when another node holds the lock for longer than a
  ///   statement may take.
  @discardableResult
  private func lock(
    _ connection: PostgresConnection, _ further: [SQLStatement]
  ) async throws -> StatementResult? {
    do {
      return try await connection.run([SQLStatement("BEGIN"), Self.lock] + further).last
    } catch let error as StoreError where error.code == .timedOut {
      throw StoreError(
        .busy,
        "Another server has kept the lock of all changes for \(limits.statementTimeout).",
        cause: error)
    }
  }

  /// Runs members as long as there are some, they fit and others need not wait too long.
  ///
  /// - Returns: what has still to be sent ahead of the commit.
  private func gather(
    into members: inout [Member], _ record: inout BatchRecord, on connection: PostgresConnection
  ) async -> [SQLStatement] {
    let start = ContinuousClock.now
    var pending: [SQLStatement] = []
    while members.count < limits.writesPerCommit, connection.isOpen,
      members.isEmpty || .now - start < limits.batchTime, let turn = popWaiting()
    {
      var prefix = pending + [SQLStatement("SAVEPOINT member")]
      if let timeout = turn.statementTimeout(below: limits.statementTimeout) {
        prefix.append(Session.statementTimeout(timeout))
      }
      let isTimed = prefix.count > pending.count + 1
      let transaction = PostgresTransaction(connection, after: record, prefix: prefix)
      await turn.run(in: transaction)
      let committed = transaction.end()
      var member = Member(turn: turn, error: turn.error ?? transaction.failure)
      if member.error == nil {
        member.committed = committed
        member.mayHaveWritten = transaction.hasBegun || !committed.isEmpty
        transaction.addRecord(to: &record)
      }
      members.append(member)
      if transaction.hasBegun {
        // They go out with the statements of the next, and cost no time on the way.
        pending =
          member.error == nil
          ? [SQLStatement("RELEASE SAVEPOINT member")]
          : [
            SQLStatement("ROLLBACK TO SAVEPOINT member"), SQLStatement("RELEASE SAVEPOINT member"),
          ]
        // Its time is not that of what comes behind it.
        if isTimed { pending.append(Session.statementTimeout(limits.statementTimeout)) }
      }
      if let failure = transaction.failure { note(failure: failure) }
    }
    return pending
  }

  /// - Parameters:
  ///   - pending: what has still to be sent ahead of it.
  ///   - isMarked: whether its outcome can be looked up: a batch that wrote nothing, as that of a
  ///     health check, needs no mark and costs no flush.
  /// - Returns: whether it is committed; false when the connection was lost and it is not.
  /// - Throws: ``StoreError`` when the server refused, or with code outcomeUnknown.
  private func commit(
    _ pending: [SQLStatement], _ committed: Committed, _ isMarked: Bool,
    on connection: PostgresConnection
  ) async throws -> Bool {
    guard connection.isOpen else { return false }
    var statements = pending
    if !committed.isEmpty {
      statements.append(
        SQLStatement(
          "SELECT pg_notify($1, $2)",
          [
            .text(Self.channel),
            .text(PublishedChanges.notice(of: committed)),
          ]))
    }
    if isMarked { statements.append(mark.next()) }
    statements.append(SQLStatement("COMMIT"))
    do {
      let results = try await connection.run(statements)
      // A COMMIT of a transaction that has failed rolls back and says so.
      guard results.last?.tag == "COMMIT" else {
        throw StoreError(.constraint, "The server rolled the transaction back.")
      }
      return true
    } catch  where !connection.isOpen {
      logger.log(.warning, "The connection was lost during a commit; looking for its outcome.")
      let outcome = try await CommitOutcome.find(
        of: mark, on: connection, through: kept, timeout: limits.outcomeTimeout)
      logger.log(
        .info,
        outcome == .committed
          ? "The commit whose answer was lost was made."
          : "The commit whose answer was lost was not made.")
      return outcome == .committed
    }
  }

  private func finish(_ members: [Member], _ committed: Committed, _ head: ChangeHead?) {
    if let head { published.note(head) }
    do {
      try published.publish(committed)
    } catch {
      onCutOff(error as? StoreError ?? .unreachable("\(error)"))
    }
    // Ahead of the answers: whoever has one finds its write counted.
    shared.withLock { shared in
      shared.commits += 1
      shared.writes += members.count
      shared.largestBatch = max(shared.largestBatch, members.count)
      if !committed.isEmpty { shared.diskFailure = nil }
    }
    for member in members { member.turn.finish(member.error) }
  }

  private func rollBack(_ connection: PostgresConnection) async {
    guard connection.isOpen else { return }
    do {
      try await connection.run([SQLStatement("ROLLBACK")])
    } catch {
      connection.lose(error as? StoreError ?? .unreachable("\(error)"))
    }
  }

  private func note(failure: StoreError) {
    guard failure.isDiskFailure else { return }
    shared.withLock { $0.diskFailure = failure }
  }
}

extension Committed {
  /// Whether there is nothing that anybody waits for.
  var isEmpty: Bool { events.isEmpty && auditSequence == 0 }
}
