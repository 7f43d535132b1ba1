import KeelsonStore
import Synchronization

/// The one thread that writes, with group commit: what waits when the thread comes round becomes
/// one transaction of SQLite and shares its flush to the disk. Each member is a savepoint, so one
/// that fails takes back its own statements only. All are answered once the commit is durable.
final class SQLiteWriter: Sendable {
  let queue: WorkQueue
  private let connection: Connection
  private let liveEvents: LiveEvents
  private let limits: SQLiteConfiguration.Limits
  private let executor = BodyExecutor()
  private let counters = Mutex(SQLiteStatistics())
  private let lastDiskFailure = Mutex<StoreError?>(nil)

  init(_ connection: Connection, liveEvents: LiveEvents, limits: SQLiteConfiguration.Limits) {
    self.connection = connection
    self.liveEvents = liveEvents
    self.limits = limits
    queue = WorkQueue(limit: limits.waitingWrites, kind: "writes")
  }

  var statistics: SQLiteStatistics { counters.withLock { $0 } }

  /// The failure of the disk in the last batch that needed it; nil when that reached the disk.
  var diskFailure: StoreError? { lastDiskFailure.withLock { $0 } }

  /// Commits batch after batch until the queue is closed and empty.
  func run() {
    var expected = 1
    while let first = queue.take() {
      expected = commitBatch(first: first, expected: expected)
    }
    connection.close()
  }

  /// A member of the batch whose body has run.
  private struct Member {
    let work: any PendingWork
    var committed = Committed()
    /// The disk's failure in one of its statements.
    var diskFailure: StoreError?
    var duty: (@Sendable (Connection) -> Void)?
  }

  /// - Parameter expected: how many writes the last batch had. Its callers have just been
  ///   answered and are likely to come again, so it pays to wait a moment for as many.
  /// - Returns: how many writes this batch had.
  private func commitBatch(first: any PendingWork, expected: Int) -> Int {
    var members: [Member] = []
    let pagesBefore = connection.pagesWritten
    do {
      try connection.control("BEGIN IMMEDIATE")
      try gather(first: first, expected: expected, into: &members)
      try connection.control("COMMIT")
    } catch {
      // Nothing of the batch is durable. Even a member that failed by itself gets this error: it
      // may have failed for what another one wrote.
      rollBack()
      noteDisk(
        failure: (error as? StoreError).flatMap { $0.isDiskFailure ? $0 : nil }, in: members)
      if members.isEmpty { first.finish(overriding: error) }
      for member in members { member.work.finish(overriding: error) }
      return members.count
    }
    noteDisk(in: members, reached: connection.pagesWritten != pagesBefore)
    var committed = Committed()
    for member in members { committed.append(member.committed) }
    liveEvents.publish(committed)
    // Ahead of the answers: whoever has one finds its write counted.
    counters.withLock { counters in
      counters.commits += 1
      counters.writes += members.count
      counters.largestBatch = max(counters.largestBatch, members.count)
    }
    for member in members { member.duty?(connection) }
    for member in members { member.work.finish(overriding: nil) }
    return members.count
  }

  private func gather(first: any PendingWork, expected: Int, into members: inout [Member]) throws {
    let start = ContinuousClock.now
    var next: (any PendingWork)? = first
    while let work = next {
      if work.begin(onCancel: nil) {
        // A member from the moment it has begun, so that a failing batch answers it.
        members.append(Member(work: work))
        try run(&members[members.count - 1])
      }
      guard members.count < limits.writesPerCommit else { return }
      let linger = members.count < expected ? limits.linger - (.now - start) : .zero
      next = queue.take(
        withinNanoseconds: linger.components.attoseconds / 1_000_000_000)
    }
  }

  /// Runs one member and keeps what it has to publish.
  ///
  /// - Throws: when the whole batch is lost, not when the body throws.
  private func run(_ member: inout Member) throws {
    let work = member.work
    try connection.control("SAVEPOINT member")
    let transaction = SQLiteTransaction(connection, isWrite: true)
    executor.run {
      await work.run(in: transaction)
    } started: {
      work.attach($0)
    }
    let committed = transaction.end()
    member.diskFailure = transaction.diskFailure
    if work.failure == nil && connection.hasBrokenForeignKeys {
      work.fail(StoreError(.constraint, "A foreign key has no row to point to."))
    }
    if let failure = work.failure {
      // A full disk or a failing one makes SQLite roll back the whole transaction.
      guard connection.isInTransaction else { throw failure }
      try connection.control("ROLLBACK TO member")
      try connection.control("RELEASE member")
      return
    }
    try connection.control("RELEASE member")
    member.committed = committed
    member.duty = transaction.duty
  }

  /// Remembers what a batch says about the disk. One that wrote nothing, as that of a health
  /// check, says nothing.
  private func noteDisk(
    failure: StoreError? = nil, in members: [Member], reached: Bool = false
  ) {
    if let failure = failure ?? members.lazy.compactMap(\.diskFailure).last {
      lastDiskFailure.withLock { $0 = failure }
    } else if reached {
      lastDiskFailure.withLock { $0 = nil }
    }
  }

  private func rollBack() {
    guard connection.isInTransaction else { return }
    // A rollback that fails leaves the transaction open; the next BEGIN then says so and its
    // batch tries again.
    _ = try? connection.control("ROLLBACK")
  }
}
