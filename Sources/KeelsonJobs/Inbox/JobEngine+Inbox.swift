import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

extension JobEngine {
  struct TakenUp: Sendable {
    /// The rows that are out of the inbox, each with its job made, or that of its unique key there.
    var numbers: Set<Int64> = []
    /// Queues that had no room for all.
    var fullQueues: Set<String> = []
  }

  /// Reads what waits: some of each queue, in an order of chance, so that none waits for another.
  ///
  /// - Parameter passed: queues that are passed over.
  func inboxPage(without passed: Set<String>) async throws -> [InboxRow] {
    let limits = limits
    return try await database.read { transaction in
      let queues = try await InboxRepository.queues(
        atMost: JobFigures.mostQueues, in: transaction
      ).filter { !passed.contains($0) }
      let share = max(10, limits.inboxRows / max(1, queues.count))
      var rows: [InboxRow] = []
      var bytes = limits.inboxBytes
      for queue in queues.shuffled() where rows.count < limits.inboxRows && bytes > 0 {
        let page = try await InboxRepository.page(
          of: queue, limit: min(share, limits.inboxRows - rows.count), bytes: bytes,
          in: transaction)
        rows += page
        bytes -= page.reduce(0) { $0 + $1.parameterBytes }
      }
      return rows
    }
  }

  /// Makes the jobs of rows and takes the rows out, in one transaction: a row is taken up once,
  /// however many servers try and whenever they are killed.
  ///
  /// - Parameter rows: of one role, checked, in their order.
  func takeUp(_ rows: [InboxRow], from origin: ChangeOrigin) async throws -> TakenUp {
    do {
      return try await database.change(origin) { change in
        var taken = TakenUp()
        let fitting = try await fitting(rows, &taken.fullQueues, in: change)
        let numbers = try await InboxRepository.remove(fitting.map(\.number), in: change)
        taken.numbers = numbers
        let new = fitting.filter { numbers.contains($0.number) }.map {
          NewJob(job: $0.job, id: $0.id, runTime: $0.runTime, origin: $0.origin)
        }
        let created = try await add(new, from: origin, in: change)
        guard created.contains(where: { !$0.isExisting }) else { throw Nothing(value: taken) }
        return taken
      }
    } catch let nothing as Nothing<TakenUp> {
      // Nothing was made, so there is no change: the jobs of their keys are there. Or no row had
      // room, or all were another server's.
      let numbers = nothing.value.numbers.sorted()
      guard !numbers.isEmpty else { return nothing.value }
      try await database.write { transaction in
        _ = try await InboxRepository.remove(numbers, in: transaction)
      }
      return nothing.value
    }
  }

  /// The rows that their queues have room for.
  private func fitting(
    _ rows: [InboxRow], _ full: inout Set<String>, in change: Change
  ) async throws -> [InboxRow] {
    var room: [String: Int64] = [:]
    var fitting: [InboxRow] = []
    for row in rows {
      let queue = row.job.queue
      let left =
        if let left = room[queue] { left } else {
          try await depthLeft(of: queue, in: change).left
        }
      if left > 0 { fitting.append(row) } else { full.insert(queue) }
      room[queue] = left - 1
    }
    return fitting
  }

  /// Keeps rows as refused, each with an entry in the audit trail.
  func refuse(_ rows: [(row: InboxRow, reason: String)], from origin: ChangeOrigin) async throws {
    try await database.change(origin) { change in
      try await change.executeAll(rows.map { InboxRepository.refuse($0.row.number, $0.reason) })
      for (row, reason) in rows {
        let data: JSONValue = [
          "id": .string(row.id.text), "queue": .string(row.job.queue),
          "kind": .string(row.job.kind), "reason": .string(reason),
        ]
        change.audit(
          AuditDraft(
            action: "job.refused", entityType: "job", entityID: row.id.text,
            attributes: JSONText(data), outcome: .failure))
        change.emit(
          EventDraft(
            type: JobEvent.refused.rawValue, subject: "\(row.job.queue)/\(row.id.text)",
            data: JSONText(data)))
      }
    }
  }

  /// Removes rows that were refused long enough ago.
  ///
  /// - Returns: how many; 0 when none are left.
  func pruneInbox() async throws -> Int {
    let (keep, limit) = (limits.inboxKeepRefused, limits.inboxRows)
    return try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction, .postgreSQL).nextTime
      return try await InboxRepository.prune(before: now - keep, limit: limit, in: transaction)
    }
  }
}

extension InboxRow {
  var parameterBytes: Int {
    guard case .json(let text) = job.parameters?.kind else { return 0 }
    return text.utf8.count
  }
}
