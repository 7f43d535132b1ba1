import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore
import Synchronization

/// The newest entries in memory for whoever reads them as they come, and who waits for the next.
/// Entries are read from the table once for all tails that keep up; slower ones read for themselves.
final class AuditTail: Sendable {
  /// What ends a wait.
  enum Wake: Sendable {
    case entries
    /// Nothing came for the time of a heartbeat.
    case heartbeat
    case closed
  }

  private struct State {
    /// Without a gap.
    var recent = Deque<AuditEntry>()
    var recentBytes = 0
    var pace: ReadPace
    var loading: Task<[AuditEntry], any Error>?
    var waiters: [Int: CheckedContinuation<Wake, Never>] = [:]
    var nextWaiter = 0
    var tails = 0
    var isClosed = false
  }

  /// Entries that are taken at once.
  private static let pageSize = 500
  private let database: any Database
  private let limits: AuditLimits
  private let state: Mutex<State>

  init(database: any Database, limits: AuditLimits) {
    self.database = database
    self.limits = limits
    state = Mutex(State(pace: ReadPace(most: Self.pageSize, bytes: limits.readBytes)))
  }

  /// Counts a tail in.
  ///
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED at the limit, UNAVAILABLE when the server is stopping.
  func enter() throws {
    try state.withLock { state in
      guard !state.isClosed else { throw Self.stopping }
      guard state.tails < limits.tails else {
        throw RPCError(
          .resourceExhausted,
          "All \(limits.tails) tails of this server are taken; try again later.",
          details: [.retryInfo(.seconds(5))])
      }
      state.tails += 1
    }
  }

  func leave() {
    state.withLock { state in
      state.tails -= 1
      guard state.tails == 0 else { return }
      state.recent = Deque()
      state.recentBytes = 0
    }
  }

  static let stopping = RPCError(
    .unavailable, "The server is stopping; connect again and resume.",
    details: [.retryInfo(.seconds(1))])

  // MARK: Reading

  /// The next entries after a number, at least one when there is one.
  ///
  /// - Throws: `StoreError`.
  func entries(after position: Int64) async throws -> [AuditEntry] {
    let (held, loading) = state.withLock {
      state -> ([AuditEntry], Task<[AuditEntry], any Error>?) in
      if let first = state.recent.first?.sequence, first <= position + 1 {
        let offset = Int(position + 1 - first)
        if offset < state.recent.count {
          let end = min(offset + Self.pageSize, state.recent.count)
          return ((offset..<end).map { state.recent[$0] }, nil)
        }
        // The very next one: for all who wait for it at once.
        guard offset == state.recent.count else { return ([], nil) }
      } else if position < database.liveEvents.auditSequence - Int64(Self.pageSize) {
        return ([], nil)
      }
      let task = state.loading ?? Task.detached { try await self.load(after: position) }
      state.loading = task
      return ([], task)
    }
    guard held.isEmpty else { return held }
    if let loading {
      let loaded = try await loading.value
      if let index = loaded.firstIndex(where: { $0.sequence == position + 1 }) {
        return Array(loaded[index...])
      }
    }
    return try await read(after: position)
  }

  private func read(after position: Int64) async throws -> [AuditEntry] {
    let count = state.withLock { $0.pace.count }
    let entries = try await database.read {
      try await AuditEntries.select(after: position, limit: count, in: $0)
    }
    state.withLock { $0.pace.took(entries) }
    return entries
  }

  private func load(after position: Int64) async throws -> [AuditEntry] {
    defer { state.withLock { $0.loading = nil } }
    let entries = try await read(after: position)
    state.withLock { state in
      if let last = state.recent.count > 0 ? state.recent[state.recent.count - 1] : nil,
        last.sequence + 1 != entries.first?.sequence
      {
        state.recent = Deque()
        state.recentBytes = 0
      }
      for entry in entries {
        state.recent.append(entry)
        state.recentBytes += entry.sizeBytes
      }
      while state.recent.count > limits.recentEntries || state.recentBytes > limits.recentBytes,
        let oldest = state.recent.popFirst()
      {
        state.recentBytes -= oldest.sizeBytes
      }
    }
    return entries
  }

  // MARK: Waiting

  /// Waits until there are entries after a number.
  func wait(after position: Int64) async throws -> Wake {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    let wake = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let immediate = state.withLock { state -> Wake? in
          if state.isClosed { return .closed }
          if Task.isCancelled || database.liveEvents.auditSequence > position { return .entries }
          state.waiters[id] = continuation
          return nil
        }
        if let immediate { continuation.resume(returning: immediate) }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: .entries)
    }
    try Task.checkCancellation()
    return wake
  }

  /// Wakes all who wait.
  func wakeAll(_ wake: Wake) {
    let waiters = state.withLock { state in
      if case .closed = wake { state.isClosed = true }
      defer { state.waiters = [:] }
      return state.waiters.values
    }
    for waiter in waiters { waiter.resume(returning: wake) }
  }
}
