import KeelsonAPI
import KeelsonCore
import Synchronization

/// Gathers entries and sends them in batches, one call at a time and in order. What could not be
/// sent is sent again with the same ids, which records nothing twice.
final class AuditRecorder: Sendable {
  typealias Draft = KeelsonAuditV1.EntryDraft

  /// An entry that waits.
  private struct Waiting {
    var draft: Draft
    var bytes: Int
  }

  private struct FlushWaiter {
    var id: Int
    /// How many entries had been taken when it began: those it waits for.
    var taken: Int
    var continuation: CheckedContinuation<Void, Never>
  }

  private struct State {
    /// Those before `next` have been taken.
    var waiting: [Waiting] = []
    var next = 0
    var waitingBytes = 0
    /// Entries of the call under way.
    var sending = 0
    /// How many entries came, and of how many it is known what became of them.
    var taken = 0
    var settled = 0
    /// Sending was given up: what became of the call under way has been told.
    var isAbandoned = false
    var isRunning = false
    var isClosed = false
    var roomWaiters: [(id: Int, continuation: CheckedContinuation<Void, Never>)] = []
    var flushWaiters: [FlushWaiter] = []
    var nextID = 0
    var failure: RPCError?

    var waitingCount: Int { waiting.count - next }

    func hasRoom(_ policy: AuditRecordingPolicy) -> Bool {
      waitingCount == 0
        || waitingCount < policy.bufferedEntries && waitingBytes < policy.bufferedBytes
    }

    /// Those who waited for what is settled now.
    mutating func flushed() -> [CheckedContinuation<Void, Never>] {
      let settled = settled
      let done = flushWaiters.filter { $0.taken <= settled }.map(\.continuation)
      flushWaiters.removeAll { $0.taken <= settled }
      return done
    }
  }

  /// Bytes of the entries in one call: a server takes 4 MiB.
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
    let bytes = draft.sizeBytes
    while true {
      let (isTaken, begins) = try state.withLock { state -> (Bool, Bool) in
        guard !state.isClosed else {
          throw RPCError(
            .unavailable, "The client was shut down: the entry is not recorded.")
        }
        guard state.hasRoom(policy) else { return (false, false) }
        state.waiting.append(Waiting(draft: draft, bytes: bytes))
        state.waitingBytes += bytes
        state.taken += 1
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
    let id = newID()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if state.hasRoom(policy) || state.isClosed || Task.isCancelled { return true }
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

  private func newID() -> Int {
    state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
  }

  /// Waits until it is known what became of all that was taken before; not of what comes meanwhile.
  ///
  /// - Throws: the first reason for which entries were given up; `CancellationError`.
  func flush() async throws {
    let id = newID()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if state.settled == state.taken || Task.isCancelled { return true }
          state.flushWaiters.append(
            FlushWaiter(id: id, taken: state.taken, continuation: continuation))
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        state.flushWaiters.firstIndex { $0.id == id }.map { state.flushWaiters.remove(at: $0) }
      }
      waiter?.continuation.resume()
    }
    try Task.checkCancellation()
    if let failure = state.withLock({ $0.failure.take() }) { throw failure }
  }

  /// Takes no more entries, and gives those it has their time.
  func close() async {
    let isDone = state.withLock { state in
      state.isClosed = true
      return state.settled == state.taken
    }
    if !isDone {
      let timer = Task { [policy] in
        try await Task.sleep(for: policy.shutdownTimeout)
        self.giveUp(
          RPCError(.unavailable, "The client was shut down before the entries could be recorded."))
      }
      // In a task of its own: whoever shuts down is often cancelled already, and what waits has its
      // time all the same.
      await Task { try? await flush() }.value
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
      let count = state.taken - state.settled
      state.waiting = []
      state.next = 0
      state.waitingBytes = 0
      state.isAbandoned = state.sending > 0
      state.settled = state.taken
      if count > 0 { state.failure = state.failure ?? error }
      return (count, state.flushed())
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
      guard state.waitingCount > 0 else {
        state.isRunning = false
        return (nil, [])
      }
      var batch: [Draft] = []
      var bytes = 0
      let most = max(1, min(policy.entriesPerCall, 1_000))
      while state.waitingCount > 0, batch.count < most {
        let waiting = state.waiting[state.next]
        bytes += waiting.bytes
        if bytes > Self.bytesPerCall, !batch.isEmpty { break }
        batch.append(waiting.draft)
        state.waitingBytes -= waiting.bytes
        state.next += 1
      }
      // Moved up seldom, so that taking from the front costs the same however many wait.
      if state.next * 2 >= state.waiting.count {
        state.waiting.removeFirst(state.next)
        state.next = 0
      }
      state.sending = batch.count
      defer { state.roomWaiters = [] }
      return (batch, state.roomWaiters.map(\.continuation))
    }
    for waiter in woken { waiter.resume() }
    return batch
  }

  private func finishBatch() {
    let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      if !state.isAbandoned { state.settled += state.sending }
      state.isAbandoned = false
      state.sending = 0
      return state.flushed()
    }
    for waiter in waiters { waiter.resume() }
  }

  private func fail(_ count: Int, _ error: any Error) {
    let error = error as? RPCError ?? RPCError(.unknown, "\(error)")
    let isTold = state.withLock { state in
      if !state.isAbandoned { state.failure = state.failure ?? error }
      return state.isAbandoned
    }
    if !isTold { policy.onFailure?(count, error) }
  }

  /// Sends a batch until it is recorded, refused or its time is over. A batch that is refused for
  /// what is in it is sent entry by entry, so that one that is wrong takes no other with it.
  private func deliver(_ batch: [Draft]) async throws {
    do {
      try await attempt(batch)
    } catch let error as RPCError where Self.isRefusal(error, of: batch) && batch.count > 1 {
      for (index, draft) in batch.enumerated() {
        do {
          try await attempt([draft])
        } catch let error as RPCError where Self.isRefusal(error, of: [draft]) {
          fail(1, error)
        } catch {
          // Its time is over, and so is that of the rest.
          fail(batch.count - index, error)
          return
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
      } catch let error as RPCError where !Self.isRefusal(error, of: batch) {
        let isAbandoned = state.withLock { $0.isAbandoned }
        let wait = error.retryDelay ?? pause
        guard !isAbandoned, .now + wait < deadline else { throw error }
        try await Task.sleep(for: wait)
        pause = min(pause * 2, .seconds(5))
      }
    }
  }

  /// Whether sending the same again cannot help. An overload says when to come again; without that
  /// it may be the message that is too large, which a call of one small entry is not: then something
  /// in between has had enough for the moment.
  private static func isRefusal(_ error: RPCError, of batch: [Draft]) -> Bool {
    if error.code == .resourceExhausted {
      return error.retryDelay == nil
        && (batch.count > 1 || batch.contains { $0.sizeBytes > bytesPerCall })
    }
    return [
      .invalidArgument, .alreadyExists, .failedPrecondition, .permissionDenied, .unauthenticated,
      .unimplemented, .outOfRange,
    ].contains(error.code)
  }
}

extension KeelsonAuditV1.EntryDraft {
  /// About how many bytes it takes in a call.
  fileprivate var sizeBytes: Int {
    let texts = [
      entryId, actor, action, entityType, entityId, before, after, category, correlationId, peer,
      userAgent, subject,
    ]
    return 64 + texts.reduce(0) { $0 + $1.utf8.count + 4 }
      + attributes.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count + 8 }
  }
}

extension RPCError {
  var retryDelay: Duration? {
    for case .retryInfo(let delay) in details { return delay }
    return nil
  }
}
