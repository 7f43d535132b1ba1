import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// When the depth of a queue is alerted of. Source: SYS-104.
struct DepthAlert: Sendable {
  /// More pending jobs than this raise it.
  let depth: Int64

  /// So many or fewer end it: a queue that stays about the depth is not told of with every job.
  var recoveryDepth: Int64 { depth * 4 / 5 }

  func isRaised(pending: Int64, wasRaised: Bool) -> Bool {
    wasRaised ? pending > recoveryDepth : pending > depth
  }

  func isRaised(_ queue: JobFigures.Queue) -> Bool {
    isRaised(pending: queue[.pending], wasRaised: queue.isAlerted)
  }
}

extension JobEngine {
  /// A queue whose alert was raised or ended.
  struct AlertChange: Sendable {
    var queue: String
    var pending: Int64
    var isRaised: Bool
  }

  /// Raises and ends alerts of queues, each with an event: once for each crossing, whichever server
  /// looks.
  ///
  /// - Parameter queues: where something may have changed.
  func settleAlerts(of queues: [String], _ alert: DepthAlert) async throws -> [AlertChange] {
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var changes: [AlertChange] = []
        for queue in queues {
          let row = try await change.query(QueueRepository.pending(in: queue)).first
          let pending: Int64 = try row?.get(0) ?? 0
          let wasRaised = try await AlertRepository.isRaised(queue, in: change)
          let isRaised = alert.isRaised(pending: pending, wasRaised: wasRaised)
          guard isRaised != wasRaised else { continue }
          changes.append(AlertChange(queue: queue, pending: pending, isRaised: isRaised))
        }
        guard !changes.isEmpty else { throw Nothing(value: changes) }
        try await change.executeAll(
          changes.map {
            $0.isRaised
              ? AlertRepository.raise($0.queue, at: change.time) : AlertRepository.end($0.queue)
          })
        for each in changes {
          let event = each.isRaised ? JobEvent.depthExceeded : .depthRecovered
          change.emit(
            EventDraft(
              type: event.rawValue, subject: each.queue,
              data: JSONText([
                "queue": .string(each.queue), "pending": .number(Double(each.pending)),
                "alertDepth": .number(Double(alert.depth)),
              ])))
        }
        return changes
      }
    } catch let nothing as Nothing<[AlertChange]> {
      return nothing.value
    }
  }
}

/// The SQL of alerts: the queues whose depth is alerted of.
enum AlertRepository {
  static func isRaised(_ queue: String, in transaction: any Transaction) async throws -> Bool {
    try await transaction.first(
      "SELECT 1 FROM job_queue_alerts WHERE queue = $1", [.text(queue)]) != nil
  }

  static func raise(_ queue: String, at time: UnixTime) -> SQLStatement {
    SQLStatement(
      "INSERT INTO job_queue_alerts (queue, since) VALUES ($1, $2)",
      [.text(queue), SQLValue(time)])
  }

  static func end(_ queue: String) -> SQLStatement {
    SQLStatement("DELETE FROM job_queue_alerts WHERE queue = $1", [.text(queue)])
  }
}
