import Synchronization

/// The end of the audit trail as it moves on: whoever reads entries as they come waits here and
/// reads the table.
extension LiveEvents {
  /// The number of the newest audit entry that is durable and known on this node.
  package var auditSequence: Int64 { state.withLock { $0.auditSequence } }

  /// Waits until there is an entry after a number.
  ///
  /// - Returns: the number of the newest entry; nil when the database closes.
  /// - Throws: `CancellationError` when the task is cancelled.
  package func waitForAudit(after sequence: Int64) async throws -> Int64? {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let immediate: Result<Int64?, any Error>? = state.withLock { state in
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.isFinished { return .success(nil) }
          if sequence < state.auditSequence { return .success(state.auditSequence) }
          state.auditWaiters[id] = continuation
          return nil
        }
        if let immediate { continuation.resume(with: immediate) }
      }
    } onCancel: {
      let waiter = state.withLock { $0.auditWaiters.removeValue(forKey: id) }
      waiter?.resume(throwing: CancellationError())
    }
  }

  /// Wakes those who wait for entries. A number that is no news wakes nobody.
  func publishAudit(upTo sequence: Int64) {
    let waiters = state.withLock { state -> [CheckedContinuation<Int64?, any Error>] in
      guard sequence > state.auditSequence else { return [] }
      state.auditSequence = sequence
      defer { state.auditWaiters = [:] }
      return Array(state.auditWaiters.values)
    }
    for waiter in waiters { waiter.resume(returning: sequence) }
  }
}
