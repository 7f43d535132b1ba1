import KeelsonAPI
import KeelsonCore
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonClient

/// Takes calls of RecordEntries as it is told to.
final class FakeAuditServer: Sendable {
  typealias API = KeelsonAuditV1

  struct State {
    var calls: [[String]] = []
    var recorded: [String: API.EntryDraft] = [:]
    var order: [String] = []
    /// What the next calls end with, after the entries were recorded or before.
    var failures: [(error: RPCError, isRecorded: Bool)] = []
    /// Further entries make a call too large.
    var mostPerCall = Int.max
    var isHeld = false
    var held: [CheckedContinuation<Void, Never>] = []
  }

  let state = Mutex(State())

  var channel: InProcessChannel {
    InProcessChannel(routes: [
      .unary(API.AuditServiceMethods.recordEntries) {
        (request: API.RecordEntriesRequest, _: ServerContext) in try await self.record(request)
      }
    ])
  }

  func record(_ request: API.RecordEntriesRequest) async throws -> API.RecordEntriesResponse {
    await withCheckedContinuation { continuation in
      let goesOn = state.withLock { state in
        if state.isHeld { state.held.append(continuation) }
        return !state.isHeld
      }
      if goesOn { continuation.resume() }
    }
    return try state.withLock { state in
      state.calls.append(request.entries.map(\.entryId))
      let failure = state.failures.isEmpty ? nil : state.failures.removeFirst()
      if let failure, !failure.isRecorded { throw failure.error }
      if request.entries.count > state.mostPerCall {
        throw RPCError(.resourceExhausted, "The message is too large.")
      }
      if let wrong = request.entries.first(where: { $0.actor == "wrong" }) {
        throw RPCError.invalidArgument(field: "entries[0].actor", "\(wrong.actor)")
      }
      for entry in request.entries {
        if state.recorded.updateValue(entry, forKey: entry.entryId) == nil {
          state.order.append(entry.entityId)
        }
      }
      if let failure { throw failure.error }
      return .init(entries: request.entries.map { .init(entryId: $0.entryId) })
    }
  }

  func release() {
    let held = state.withLock { state in
      state.isHeld = false
      defer { state.held = [] }
      return state.held
    }
    for continuation in held { continuation.resume() }
  }
}

@Suite("Recording audit entries", .timeLimit(.minutes(5))) struct AuditRecorderTests {
  static func draft(_ number: Int, actor: String = "anna") -> KeelsonAuditV1.EntryDraft {
    .init(actor: actor, action: "a.b", entityType: "thing", entityId: "\(number)")
  }

  /// Runs a body with a client of a fake server.
  func run(
    _ policy: AuditRecordingPolicy = .init(),
    _ body: (Audit, FakeAuditServer) async throws -> Void
  ) async throws {
    let server = FakeAuditServer()
    let channel = server.channel
    let audit = Audit(channel: channel, policy: policy)
    try await body(audit, server)
    await audit.recorder.close()
    await channel.shutdown()
  }

  @Test("entries are gathered while a call is under way, and keep their order")
  func gathering() async throws {
    try await run { audit, server in
      server.state.withLock { $0.isHeld = true }
      for number in 0..<100 { try await audit.record(Self.draft(number)) }
      server.release()
      try await audit.flush()
      server.state.withLock { state in
        #expect(state.order == (0..<100).map(String.init))
        #expect(state.calls.count < 100)
      }
    }
  }

  @Test("what was recorded though the answer was lost is sent again with its id")
  func retries() async throws {
    try await run { audit, server in
      let lost = RPCError(.unavailable, "lost", details: [.retryInfo(.milliseconds(1))])
      server.state.withLock { $0.failures = [(lost, true), (lost, false)] }
      try await audit.record(Self.draft(1))
      try await audit.flush()
      server.state.withLock { state in
        #expect(state.calls.count == 3)
        #expect(Set(state.calls).count == 1)
        #expect(state.recorded.count == 1)
      }
    }
  }

  @Test("an entry that is refused takes no other with it")
  func refusals() async throws {
    let told = Mutex<[Int]>([])
    var policy = AuditRecordingPolicy()
    policy.onFailure = { count, _ in told.withLock { $0.append(count) } }
    try await run(policy) { audit, server in
      server.state.withLock { $0.isHeld = true }
      for number in 0..<10 {
        try await audit.record(Self.draft(number, actor: number == 5 ? "wrong" : "anna"))
      }
      server.release()
      let error = await #expect(throws: RPCError.self) { try await audit.flush() }
      #expect(error?.code == .invalidArgument)
      #expect(server.state.withLock { $0.recorded.count } == 9)
      #expect(told.withLock { $0 } == [1])
      // Told once.
      try await audit.flush()
    }
  }

  @Test("a call that is too large for the server is divided, and not repeated as it is")
  func divisions() async throws {
    try await run { audit, server in
      server.state.withLock { state in
        state.isHeld = true
        state.mostPerCall = 2
      }
      for number in 0..<10 { try await audit.record(Self.draft(number)) }
      server.release()
      try await audit.flush()
      #expect(server.state.withLock { $0.recorded.count } == 10)
    }
  }

  @Test("a full buffer makes whoever records wait")
  func backPressure() async throws {
    var policy = AuditRecordingPolicy()
    policy.bufferedEntries = 3
    policy.entriesPerCall = 1
    try await run(policy) { audit, server in
      server.state.withLock { $0.isHeld = true }
      let count = Mutex(0)
      let recording = Task {
        for number in 0..<10 {
          try await audit.record(Self.draft(number))
          count.withLock { $0 += 1 }
        }
      }
      // One is on its way, and no more than three wait.
      while server.state.withLock({ $0.held.isEmpty }) { await Task.yield() }
      #expect(count.withLock { $0 } <= 4)
      server.release()
      try await recording.value
      try await audit.flush()
      #expect(server.state.withLock { $0.order } == (0..<10).map(String.init))
      // Whoever is cancelled while waiting gives up.
      server.state.withLock { $0.isHeld = true }
      let waiting = Task { while true { try await audit.record(Self.draft(0)) } }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      server.release()
    }
  }

  @Test("closing sends what waits, and takes nothing more")
  func closing() async throws {
    try await run { audit, server in
      for number in 0..<20 { try await audit.record(Self.draft(number)) }
      await audit.recorder.close()
      #expect(server.state.withLock { $0.recorded.count } == 20)
      let error = await #expect(throws: RPCError.self) { try await audit.record(Self.draft(0)) }
      #expect(error?.code == .unavailable)
    }
  }

  @Test("what waits has its time though whoever closes is cancelled")
  func closingInACancelledTask() async throws {
    try await run { audit, server in
      server.state.withLock { $0.isHeld = true }
      for number in 0..<20 { try await audit.record(Self.draft(number)) }
      let closing = Task {
        while !Task.isCancelled { await Task.yield() }
        await audit.recorder.close()
      }
      closing.cancel()
      while await !Self.isClosed(audit) { await Task.yield() }
      server.release()
      await closing.value
      // Whoever looked whether it is closed may have been taken as well.
      let order = server.state.withLock { $0.order }
      #expect(Set(order) == Set((0..<20).map(String.init)))
    }
  }

  /// Whether no more is taken.
  private static func isClosed(_ audit: Audit) async -> Bool {
    do {
      try await audit.record(draft(0))
      return false
    } catch {
      return true
    }
  }

  @Test("an overload that does not say when to come again loses nothing")
  func overload() async throws {
    let told = Mutex(0)
    var policy = AuditRecordingPolicy()
    policy.onFailure = { count, _ in told.withLock { $0 += count } }
    try await run(policy) { audit, server in
      let busy = RPCError(.resourceExhausted, "ENHANCE_YOUR_CALM")
      server.state.withLock { $0.failures = Array(repeating: (busy, false), count: 4) }
      for number in 0..<3 { try await audit.record(Self.draft(number)) }
      try await audit.flush()
      #expect(server.state.withLock { $0.recorded.count } == 3)
      #expect(told.withLock { $0 } == 0)
    }
  }

  @Test("what cannot be sent in time when closing is given up and told")
  func givingUp() async throws {
    let told = Mutex(0)
    var policy = AuditRecordingPolicy()
    policy.shutdownTimeout = .milliseconds(50)
    policy.onFailure = { count, _ in told.withLock { $0 += count } }
    try await run(policy) { audit, server in
      server.state.withLock { $0.isHeld = true }
      for number in 0..<5 { try await audit.record(Self.draft(number)) }
      await audit.recorder.close()
      #expect(told.withLock { $0 } == 5)
      // The call under way fails: that was told already.
      server.state.withLock { $0.failures = [(RPCError(.internalError, "late"), false)] }
      server.release()
      while server.state.withLock({ !$0.failures.isEmpty }) { await Task.yield() }
      #expect(told.withLock { $0 } == 5)
    }
  }

  @Test("a flush waits for what came before it, and no longer than its task")
  func flushing() async throws {
    var policy = AuditRecordingPolicy()
    policy.entriesPerCall = 1
    try await run(policy) { audit, server in
      let recording = Task {
        var number = 0
        while !Task.isCancelled {
          try await audit.record(Self.draft(number))
          number += 1
          await Task.yield()
        }
      }
      while server.state.withLock({ $0.recorded.count < 10 }) { await Task.yield() }
      // It returns though the recording goes on.
      try await audit.flush()
      recording.cancel()
      _ = try? await recording.value
      try await audit.flush()

      server.state.withLock { $0.isHeld = true }
      try await audit.record(Self.draft(0))
      let flushing = Task { try await audit.flush() }
      flushing.cancel()
      await #expect(throws: CancellationError.self) { try await flushing.value }
      server.release()
      try await audit.flush()
    }
  }

  @Test("a call takes as many bytes as a server does, attributes among them")
  func bytes() async throws {
    var policy = AuditRecordingPolicy()
    policy.bufferedBytes = 100 << 10
    try await run(policy) { audit, server in
      server.state.withLock { $0.isHeld = true }
      var draft = Self.draft(0)
      draft.attributes = Dictionary(
        uniqueKeysWithValues: (0..<32).map { ("\($0)", String(repeating: "x", count: 1_024)) })
      let large = draft
      let count = Mutex(0)
      let recording = Task {
        for _ in 0..<100 {
          try await audit.record(large)
          count.withLock { $0 += 1 }
        }
      }
      while server.state.withLock({ $0.held.isEmpty }) { await Task.yield() }
      // One or a few are on their way, and four wait: more would be over 100 KiB.
      #expect(count.withLock { $0 } <= 8)
      server.release()
      try await recording.value
      try await audit.flush()
      server.state.withLock { state in
        #expect(state.order.count == 100)
        #expect(state.calls.allSatisfy { $0.count <= 31 })
      }
    }
  }
}
