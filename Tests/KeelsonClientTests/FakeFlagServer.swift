import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import Synchronization

/// A server of flag rules under the test's control: it keeps every change with its revision,
/// serves `WatchFlags` from them, breaks streams, forgets history and refuses, as told.
final class FakeFlagServer: Sendable {
  typealias Request = KeelsonFlagsV1.WatchFlagsRequest
  typealias Response = KeelsonFlagsV1.WatchFlagsResponse
  typealias Change = KeelsonFlagsV1.FlagsChange

  fileprivate enum Event: Sendable {
    case send(Response)
    case end(RPCError?)
  }

  /// A stream under way.
  fileprivate struct Watcher: Sendable {
    let events: AsyncStream<Event>.Continuation
    /// Set when the stream breaks at once: what it has not sent yet is lost.
    let broken: Signal<RPCError>
  }

  fileprivate struct State {
    var revision: Int64 = 0
    var changes: [(revision: Int64, change: Change)] = []
    /// Streams cannot resume from before this revision.
    var forgotten: Int64 = 0
    var snapshot = KeelsonFlagsV1.FlagsSnapshot()
    var watchers: [Int: Watcher] = [:]
    var nextWatcher = 0
    var refusal: RPCError?
    var snapshotsSent = 0
    var requests: [Request] = []
    var waiting: [(count: Int, signal: Signal<Void>)] = []
  }

  private let state = Mutex(State())

  var routes: [Route] {
    [
      .serverStreaming(KeelsonFlagsV1.FlagServiceMethods.watchFlags) {
        (request: Request, responses: ResponseWriter<Response>, _) in
        try await self.watch(request, responses)
      }
    ]
  }

  var revision: Int64 { state.withLock { $0.revision } }
  var snapshot: KeelsonFlagsV1.FlagsSnapshot { state.withLock { $0.snapshot } }
  /// The `WatchFlags` calls so far.
  var requests: [Request] { state.withLock { $0.requests } }
  var snapshotsSent: Int { state.withLock { $0.snapshotsSent } }

  /// Waits until so many `WatchFlags` calls have come, refused ones included.
  func waitForCalls(_ count: Int) async {
    let signal = Signal<Void>()
    state.withLock { state in
      if state.requests.count >= count {
        signal.send()
      } else {
        state.waiting.append((count, signal))
      }
    }
    await signal.wait()
  }

  // MARK: What the test tells it

  /// Makes a change at the next revision, or a later one, and sends it to every stream.
  @discardableResult
  func apply(_ change: Change.Change, skipping skipped: Int64 = 0) -> Int64 {
    state.withLock { state in
      state.revision += 1 + skipped
      let message = Change(change: change)
      state.changes.append((state.revision, message))
      state.snapshot.apply(change)
      let response = Response(revision: state.revision, event: .change(message))
      for watcher in state.watchers.values { watcher.events.yield(.send(response)) }
      return state.revision
    }
  }

  /// Sends a message to every stream.
  func send(_ event: Response.Event) {
    state.withLock { state in
      let response = Response(revision: state.revision, event: event)
      for watcher in state.watchers.values { watcher.events.yield(.send(response)) }
    }
  }

  /// Ends every stream, after what it has to send yet; nil: with OK.
  func end(_ error: RPCError?) {
    state.withLock { state in
      for watcher in state.watchers.values { watcher.events.yield(.end(error)) }
    }
  }

  /// Breaks every stream at once: what it has not sent yet is lost.
  func disconnect(_ error: RPCError = RPCError(.unavailable, "connection lost")) {
    state.withLock { state in
      for watcher in state.watchers.values {
        watcher.broken.send(error)
        watcher.events.yield(.end(error))
      }
    }
  }

  /// Loses the changes up to now: whoever wants to resume from before gets a snapshot.
  func forget() {
    state.withLock { $0.forgotten = $0.revision }
  }

  /// Refuses new streams from now on; nil: takes them again.
  func refuse(_ error: RPCError?) {
    state.withLock { $0.refusal = error }
  }

  // MARK: Serving

  private func watch(_ request: Request, _ responses: ResponseWriter<Response>) async throws {
    let (events, continuation) = AsyncStream<Event>.makeStream()
    let watcher = Watcher(events: continuation, broken: Signal())
    let id = try enter(watcher, request)
    defer { state.withLock { $0.watchers[id] = nil } }
    for await event in events {
      if watcher.broken.hasHappened { throw await watcher.broken.wait() }
      switch event {
      case .send(let response): try await responses.write(response)
      case .end(let error?): throw error
      case .end(nil): return
      }
    }
    throw CancellationError()
  }

  private func enter(_ watcher: Watcher, _ request: Request) throws -> Int {
    try state.withLock { state in
      state.requests.append(request)
      for waiting in state.waiting where waiting.count <= state.requests.count {
        waiting.signal.send()
      }
      if let refusal = state.refusal { throw refusal }
      for response in state.past(after: request.resumeRevision) {
        watcher.events.yield(.send(response))
      }
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = watcher
      return state.nextWatcher
    }
  }
}

extension FakeFlagServer.State {
  fileprivate mutating func past(after resume: Int64) -> [KeelsonFlagsV1.WatchFlagsResponse] {
    guard resume > 0, resume >= forgotten, resume <= revision else {
      snapshotsSent += 1
      return [.init(revision: revision, event: .snapshot(snapshot))]
    }
    let missed = changes.filter { $0.revision > resume }
    if missed.isEmpty { return [.init(revision: revision, event: .heartbeat(.init()))] }
    return missed.map { .init(revision: $0.revision, event: .change($0.change)) }
  }
}

extension KeelsonFlagsV1.FlagsSnapshot {
  mutating func apply(_ change: KeelsonFlagsV1.FlagsChange.Change) {
    switch change {
    case .flag(let flag):
      flags.removeAll { $0.key == flag.key }
      flags.append(flag)
    case .removedFlag(let key): flags.removeAll { $0.key == key }
    case .segment(let segment):
      segments.removeAll { $0.key == segment.key }
      segments.append(segment)
    case .removedSegment(let key): segments.removeAll { $0.key == key }
    case .flagSet(let set): flagSet = set
    }
  }
}

extension KeelsonFlagsV1.FlagRules {
  /// A boolean flag with variants "on" and "off".
  static func boolean(
    _ key: String, on: Bool = true, enabled: Bool = true, targeting: String = ""
  ) -> Self {
    Self(
      key: key, type: .boolean, enabled: enabled,
      variants: ["on": .init(.bool(true)), "off": .init(.bool(false))],
      defaultVariant: on ? "on" : "off", targeting: targeting)
  }

  /// A flag with one variant, "only".
  static func only(_ key: String, _ type: KeelsonFlagsV1.FlagType, _ value: JSONValue) -> Self {
    Self(
      key: key, type: type, enabled: true, variants: ["only": .init(value)],
      defaultVariant: "only")
  }
}
