import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

/// Takes up the jobs that SQL has made in transactions of callers: the server that leads looks for
/// them, again and again. Why it is not woken: docs/decisions/0026.
final class JobInbox: Sendable {
  private let engine: JobEngine
  private let dispatcher: JobDispatcher
  private let validation: JobValidation
  private let limits: JobLimits
  private let logger: Logger
  private let full = Mutex(Full())

  /// How long a queue is passed over that is full, and how long nothing is tried after a failure or
  /// while another server leads.
  private static let pause: Duration = .seconds(1)
  private static let pruningInterval: Duration = .seconds(60)
  /// Looking takes this share of the time at most: one of 1 ms is followed by 19 ms without.
  private static let shareOfTime = 20
  /// While nothing has come for so long, it is looked so many times less often: most databases have
  /// nobody who calls the function.
  private static let quietAfter: Duration = .seconds(10)
  private static let quietFactor = 4

  init(
    engine: JobEngine, dispatcher: JobDispatcher, validation: JobValidation, limits: JobLimits,
    logger: Logger
  ) {
    self.engine = engine
    self.dispatcher = dispatcher
    self.validation = validation
    self.limits = limits
    self.logger = logger
  }

  /// Whether the database has an inbox.
  private var isThere: Bool { engine.database.dialect == .postgreSQL }

  /// Tells the function in the database what the limits are.
  ///
  /// - Throws: ``StoreError``.
  func start() async throws {
    guard isThere else { return }
    let statement = InboxRepository.setParameterBytes(limits.parameterBytes)
    try await engine.database.write { try await $0.executeAll([statement]) }
  }

  /// Queues that are full, and until when they are passed over.
  private struct Full {
    var until: [String: ContinuousClock.Instant] = [:]
    /// Those that the log has told of.
    var told: Set<String> = []
  }

  /// Runs until the task is cancelled.
  func run() async {
    guard isThere else { return }
    var pruned = ContinuousClock.now
    var found: ContinuousClock.Instant?
    while !Task.isCancelled {
      var pause = Self.pause
      if dispatcher.leads {
        let start = ContinuousClock.now
        do {
          if try await takeUp() {
            found = start
            continue
          }
          let isQuiet = found.map { start - $0 > Self.quietAfter } ?? true
          pause = max(
            limits.inboxInterval * (isQuiet ? Self.quietFactor : 1),
            (ContinuousClock.now - start) * Self.shareOfTime)
          if start - pruned > Self.pruningInterval {
            pruned = start
            while try await engine.pruneInbox() > 0 {}
          }
        } catch {
          if !Task.isCancelled {
            logger.log(
              .warning, "Jobs made by SQL could not be taken up; the server tries again.",
              ["error": "\(error)"])
          }
        }
      }
      try? await Task.sleep(for: pause)
    }
  }

  /// Takes up what waits, a bounded number.
  ///
  /// - Returns: whether anything was there.
  func takeUp() async throws -> Bool {
    let now = ContinuousClock.now
    let passed = full.withLock { full in
      full.until = full.until.filter { $0.value > now }
      return Set(full.until.keys)
    }
    let rows = try await engine.inboxPage(without: passed)
    guard !rows.isEmpty else { return false }
    var refused: [(row: InboxRow, reason: String)] = []
    var valid: [InboxRow] = []
    for row in rows {
      do {
        _ = try validation.checked(row.job, field: "job")
        valid.append(row)
      } catch let error as RPCError {
        refused.append((row, error.message))
      }
    }
    for (role, rows) in Dictionary(grouping: valid, by: \.role) {
      let origin = Self.origin(of: role)
      do {
        note(try await engine.takeUp(rows, from: origin), of: rows)
      } catch let error as StoreError where error.isOfContent {
        // One of them is at fault; the others are not to wait for it.
        for row in rows {
          do {
            note(try await engine.takeUp([row], from: origin), of: [row])
          } catch let error as StoreError where error.isOfContent {
            refused.append((row, "The database did not take it: \(error.message)"))
          }
        }
      }
    }
    for (role, rows) in Dictionary(grouping: refused, by: \.row.role) {
      try await engine.refuse(rows, from: Self.origin(of: role))
      logger.log(
        .warning, "Jobs made by SQL were refused; the table job_inbox keeps them.",
        [
          "jobs": "\(rows.count)", "role": role, "first": rows[0].row.id.text,
          "reason": rows[0].reason,
        ])
    }
    return true
  }

  private static func origin(of role: String) -> ChangeOrigin {
    ChangeOrigin(actor: InboxRow.actor(role))
  }

  /// Remembers which queues are full, and says so once of each.
  private func note(_ taken: JobEngine.TakenUp, of rows: [InboxRow]) {
    dispatcher.tallies.tookUp(taken.numbers.count)
    let queues = Set(rows.map(\.job.queue))
    let new = full.withLock { full in
      full.told.subtract(queues.subtracting(taken.fullQueues))
      for queue in taken.fullQueues { full.until[queue] = .now + Self.pause }
      return taken.fullQueues.filter { full.told.insert($0).inserted }
    }
    for queue in new.sorted() {
      logger.log(
        .warning,
        "Jobs made by SQL wait, since their queue is full. They are taken up once workers have "
          + "done some, or its limit is raised.", ["queue": queue])
    }
  }
}

extension StoreError {
  /// Whether what was written is at fault, and not the database.
  fileprivate var isOfContent: Bool { code == .constraint || code == .misuse || code == .conflict }
}
