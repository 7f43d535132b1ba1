import KeelsonAPI
import KeelsonCore
import Synchronization

/// Gathers entries and sends them in batches, one call at a time and in order. What could not be
/// sent is sent again with the same ids, which records nothing twice.
final class AuditRecorder: Sendable {
  typealias Draft = KeelsonAuditV1.EntryDraft

  private struct State {
    var waiting: [Draft] = []
    /// Entries of the call under way.
    var sending = 0
    var isRunning = false
    var isClosed = false
    var roomWaiters: [(id: Int, continuation: CheckedContinuation<Void, Never>)] = []
    var flushWaiters: [CheckedContinuation<Void, Never>] = []
    var nextID = 0
    var failure: RPCError?

    var isIdle: Bool { waiting.isEmpty && sending == 0 }
  }

  /// Bytes of `before` and `after` in one call: a server takes 4 MiB.
  private static let bytesPerCall = 1 << 20

  private let service: KeelsonAuditV1.AuditServiceClient
  private let policy: AuditRecordingPolicy
  private let state = Mutex(State())

  init(service: KeelsonAuditV1.AuditServiceClient, policy: AuditRecordingPolicy) {
    self.service = service
    self.policy = policy
  }

  func record(_ draft: Draft) async throws {
    let draft = draft.identified
    while true {
      let (isTaken, begins) = try state.withLock { state -> (Bool, Bool) in
        guard !state.isClosed else {
          throw RPCError(
            .unavailable, "The client was shut down: the entry is not recorded.")
        }
        guard state.waiting.count < policy.bufferedEntries else { return (false, false) }
        state.waiting.append(draft)
        defer { state.isRunning = true }
        return (true, !state.isRunning)
      }
      if begins { Task.detached { await self.send() } }
      if isTaken { return }
      await waitForRoom()
      try Task.checkCancellation()
    }
  }

  private func waitForRoom() async {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if state.waiting.count < policy.bufferedEntries || state.isClosed || Task.isCancelled {
            return true
          }
          state.roomWaiters.append((id, continuation))
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        state.roomWaiters.firstIndex { $0.id == id }.map { state.roomWaiters.remove(at: $0) }
      }
      waiter?.continuation.resume()
    }
  }

  /// Waits until nothing is on its way.
  func flush() async throws {
    await withCheckedContinuation { continuation in
      let isDue = state.withLock { state in
        if state.isIdle { return true }
        state.flushWaiters.append(continuation)
        return false
      }
      if isDue { continuation.resume() }
    }
    if let failure = state.withLock({ $0.failure.take() }) { throw failure }
  }

  /// Takes no more entries, and gives those it has their time.
  func close() async {
    let isDone = state.withLock { state in
      state.isClosed = true
      return state.isIdle
    }
    if !isDone {
      let timer = Task { [policy] in
        try await Task.sleep(for: policy.shutdownTimeout)
        self.giveUp(
          RPCError(.unavailable, "The client was shut down before the entries could be recorded."))
      }
      try? await flush()
      timer.cancel()
    }
    let waiters = state.withLock { state in
      defer { state.roomWaiters = [] }
      return state.roomWaiters
    }
    for waiter in waiters { waiter.continuation.resume() }
  }

  /// Lets go of all that waits.
  private func giveUp(_ error: RPCError) {
    let (count, waiters) = state.withLock { state in
      let count = state.waiting.count + state.sending
      state.waiting = []
      state.sending = 0
      state.failure = state.failure ?? error
      defer { state.flushWaiters = [] }
      return (count, state.flushWaiters)
    }
    if count > 0 { policy.onFailure?(count, error) }
    for waiter in waiters { waiter.resume() }
  }

  // MARK: Sending

  /// Sends until nothing waits.
  private func send() async {
    while let batch = next() {
      do {
        try await deliver(batch)
      } catch {
        fail(batch.count, error)
      }
      finishBatch()
    }
  }

  private func next() -> [Draft]? {
    let (batch, woken) = state.withLock {
      state -> ([Draft]?, [CheckedContinuation<Void, Never>]) in
      guard !state.waiting.isEmpty else {
        state.isRunning = false
        return (nil, [])
      }
      var count = 0
      var bytes = 0
      for draft in state.waiting.prefix(max(1, min(policy.entriesPerCall, 1_000))) {
        bytes += draft.before.utf8.count + draft.after.utf8.count
        if bytes > Self.bytesPerCall, count > 0 { break }
        count += 1
      }
      let batch = Array(state.waiting.prefix(count))
      state.waiting.removeFirst(count)
      state.sending = count
      defer { state.roomWaiters = [] }
      return (batch, state.roomWaiters.map(\.continuation))
    }
    for waiter in woken { waiter.resume() }
    return batch
  }

  private func finishBatch() {
    let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      state.sending = 0
      guard state.isIdle else { return [] }
      defer { state.flushWaiters = [] }
      return state.flushWaiters
    }
    for waiter in waiters { waiter.resume() }
  }

  private func fail(_ count: Int, _ error: any Error) {
    let error = error as? RPCError ?? RPCError(.unknown, "\(error)")
    state.withLock { $0.failure = $0.failure ?? error }
    policy.onFailure?(count, error)
  }

  /// Sends a batch until it is recorded, refused or its time is over. A batch that is refused for
  /// what is in it is sent entry by entry, so that one that is wrong takes no other with it.
  private func deliver(_ batch: [Draft]) async throws {
    do {
      try await attempt(batch)
    } catch let error as RPCError where Self.isRefusal(error) && batch.count > 1 {
      for draft in batch {
        do {
          try await attempt([draft])
        } catch let error as RPCError where Self.isRefusal(error) {
          fail(1, error)
        }
      }
    }
  }

  private func attempt(_ batch: [Draft]) async throws {
    let deadline = ContinuousClock.now + policy.retryTimeout
    var pause = Duration.milliseconds(100)
    while true {
      do {
        _ = try await service.recordEntries(
          .init(entries: batch), options: CallOptions(timeout: .seconds(30), waitForReady: true))
        return
      } catch let error as RPCError where !Self.isRefusal(error) {
        let isAbandoned = state.withLock { $0.sending == 0 }
        guard !isAbandoned, .now + pause < deadline else { throw error }
        try await Task.sleep(for: error.retryDelay ?? pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
  }

  /// Whether sending the same again cannot help.
  private static func isRefusal(_ error: RPCError) -> Bool {
    [
      .invalidArgument, .alreadyExists, .failedPrecondition, .permissionDenied, .unauthenticated,
      .unimplemented, .outOfRange,
    ].contains(error.code)
  }
}

extension RPCError {
  fileprivate var retryDelay: Duration? {
    for case .retryInfo(let delay) in details { return delay }
    return nil
  }
}
