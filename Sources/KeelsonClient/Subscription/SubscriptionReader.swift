package import KeelsonAPI
package import KeelsonCore

/// The messages of one subscription: one streaming call after the other, each begun where the one
/// before it ended. Used by one task at a time.
///
/// What is not cured by trying again is thrown; everything else is tried again, as the state machine
/// says. It ends when the client is shut down.
package final class SubscriptionReader<Response: Message> {
  private let registry: SubscriptionRegistry
  private let calls: SubscriptionCalls
  private let heartbeat: (Response) -> SubscriptionCalls.Heartbeat?
  private let onInterruption: ((RPCError) -> Void)?
  private var call: Call?
  private var isInterrupted = false

  private struct Call {
    var responses: ResponseStream<Response>.AsyncIterator
    /// Ends the call when the server is silent for too long.
    var watch: Task<Void, Never>
    /// How long that is.
    var silenceLimit: Duration
  }

  /// - Parameters:
  ///   - what: is subscribed to, for errors: `events` for example.
  ///   - heartbeat: what a message says as a heartbeat; nil when it is none.
  ///   - onInterruption: hears of the first failure after a message, and of a first call's.
  init(
    _ what: String, policy: SubscriptionPolicy, registry: SubscriptionRegistry,
    heartbeat: @escaping (Response) -> SubscriptionCalls.Heartbeat?,
    onInterruption: ((RPCError) -> Void)? = nil
  ) {
    self.registry = registry
    self.heartbeat = heartbeat
    self.onInterruption = onInterruption
    calls = SubscriptionCalls(what, policy: policy)
    registry.add(calls)
  }

  deinit {
    call?.watch.cancel()
    calls.close()
    registry.remove(calls)
  }

  /// Waits for the next message, heartbeats among them; nil once the client is shut down.
  ///
  /// - Parameter begin: begins a call, after everything that was given out so far.
  /// - Throws: ``RPCError`` for what trying again does not cure; `CancellationError` when the task
  ///   is cancelled.
  package func next(
    isolation actor: isolated (any Actor)? = #isolation,
    begin: (CallOptions) -> ResponseStream<Response>
  ) async throws -> Response? {
    while true {
      try Task.checkCancellation()
      guard try await connect(begin) else { return nil }
      do {
        if let response = try await receive(isolation: actor) {
          isInterrupted = false
          return response
        }
        try end(with: nil)
      } catch let error as RPCError {
        // What a cancelled task makes of its call is no failure of the server's.
        try Task.checkCancellation()
        try end(with: error)
      }
    }
  }

  /// Begins a call when none runs and its time has come.
  ///
  /// - Returns: false when the client was shut down.
  private func connect(_ begin: (CallOptions) -> ResponseStream<Response>) async throws -> Bool {
    while call == nil {
      switch calls.next() {
      case .end: return false
      case .wait(let instant): try await calls.wait(until: instant)
      case .call(let waitForReady):
        let stream = begin(CallOptions(waitForReady: waitForReady))
        calls.attach { stream.cancel() }
        call = Call(
          responses: stream.makeAsyncIterator(), watch: startWatch(),
          silenceLimit: calls.silenceLimit)
      }
    }
    return true
  }

  private func receive(isolation actor: isolated (any Actor)?) async throws -> Response? {
    guard var current = call else { return nil }
    calls.listen()
    guard let response = try await current.responses.next(isolation: actor) else { return nil }
    call?.responses = current.responses
    calls.heard(heartbeat: heartbeat(response))
    if call?.silenceLimit != calls.silenceLimit {
      // The watch may sleep for longer than it should now.
      call?.silenceLimit = calls.silenceLimit
      call?.watch.cancel()
      call?.watch = startWatch()
    }
    return response
  }

  private func startWatch() -> Task<Void, Never> {
    Task { [calls] in await calls.watchSilence() }
  }

  /// The call has ended.
  ///
  /// - Throws: the failure, when trying again does not cure it.
  private func end(with failure: RPCError?) throws {
    call?.watch.cancel()
    call = nil
    guard let passing = try calls.end(with: failure), !isInterrupted else { return }
    isInterrupted = true
    onInterruption?(passing)
  }
}
