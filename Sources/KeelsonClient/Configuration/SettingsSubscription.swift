import KeelsonAPI
import KeelsonCore
import Synchronization

/// Runs a subscription to settings: does what its state machine says and keeps what comes of it for
/// everyone who reads.
///
/// The snapshot is immutable and swapped as a whole: its lock is held to copy a reference.
final class SettingsSubscription: Sendable {
  typealias API = KeelsonConfigurationV1

  private struct State {
    var mailboxes: [Int: SettingsMailbox] = [:]
    var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]
    var nextID = 0
    var isClosed = false
  }

  let client: API.ConfigurationServiceClient
  let request: API.WatchSettingsRequest
  /// Written by the task that runs the subscription, and by the watch for silence beside it.
  private let machine: Mutex<SettingsSubscriptionStateMachine>
  /// Apart from the rest, so that reads meet nobody else at their lock.
  private let published = Mutex<SettingsSnapshot?>(nil)
  private let state = Mutex(State())
  private let task = Mutex<Task<Void, Never>?>(nil)

  init(
    client: API.ConfigurationServiceClient, request: API.WatchSettingsRequest,
    policy: SubscriptionPolicy
  ) {
    self.client = client
    self.request = request
    machine = Mutex(SettingsSubscriptionStateMachine(policy: policy))
  }

  // MARK: Reading

  var snapshot: SettingsSnapshot? { published.withLock { $0 } }

  var status: SettingsStatus {
    var status = machine.withLock { $0.status(at: .now) }
    if state.withLock({ $0.isClosed }) { status.state = .shutdown }
    return status
  }

  func changes(
    of settings: ApplicationSettings, isWanted: @escaping @Sendable (String) -> Bool
  ) -> SettingsChanges {
    let mailbox = SettingsMailbox(isWanted: isWanted)
    let id = state.withLock { state -> Int? in
      guard !state.isClosed else { return nil }
      state.nextID += 1
      state.mailboxes[state.nextID] = mailbox
      return state.nextID
    }
    guard let id else {
      mailbox.close()
      return SettingsChanges(mailbox, of: settings) {}
    }
    return SettingsChanges(mailbox, of: settings) { [weak self] in
      self?.state.withLock { $0.mailboxes[id] = nil }
    }
  }

  /// Waits until there are settings.
  ///
  /// - Throws: the server's refusal; CANCELLED once closed; `CancellationError`.
  func ready() async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Void, any Error>) in
        let verdict = state.withLock { state -> Result<Void, any Error>? in
          if snapshot != nil { return .success(()) }
          if state.isClosed { return .failure(Self.closed) }
          if Task.isCancelled { return .failure(CancellationError()) }
          state.waiters[id] = continuation
          return nil
        }
        if let verdict { continuation.resume(with: verdict) }
        // The next attempt may be half a minute away.
        tellRefusal()
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?
        .resume(throwing: CancellationError())
    }
  }

  private static let closed = RPCError(.cancelled, "The client was shut down.")

  // MARK: Running

  func start() {
    task.withLock { $0 = Task { await run() } }
  }

  /// Ends the subscription without waiting for it.
  func cancel() {
    task.withLock { $0 }?.cancel()
    close()
  }

  private func run() async {
    while !Task.isCancelled {
      switch machine.withLock({ $0.next(at: .now) }) {
      case .call(let revision, let layers, let waitForReady):
        await watch(from: revision, layers: layers, waitForReady: waitForReady)
      case .wait(let instant):
        // A cancelled sleep ends the loop.
        try? await Task.sleep(until: instant, clock: .continuous)
      case .end: return
      }
    }
    machine.withLock { $0.end() }
    close()
  }

  /// One `WatchSettings` call, from its start to its end.
  private func watch(from revision: Int64, layers: String, waitForReady: Bool) async {
    var request = request
    request.resumeRevision = revision
    request.resumeLayers = layers
    let stream = client.watchSettings(request, options: CallOptions(waitForReady: waitForReady))
    var limit = machine.withLock { $0.silenceLimit }
    var watch = Task { await watchSilence(of: stream) }
    defer { watch.cancel() }
    var failure: RPCError?
    do {
      for try await response in stream {
        if let error = receive(response) {
          failure = error
          break
        }
        let newLimit = machine.withLock { $0.silenceLimit }
        if newLimit != limit {
          // It may sleep for longer than it should now.
          limit = newLimit
          watch.cancel()
          watch = Task { await watchSilence(of: stream) }
        }
      }
    } catch let error as RPCError {
      failure = error
    } catch {
      failure = RPCError(.unknown, "The stream of changes of settings failed: \(error)")
    }
    stream.cancel()
    machine.withLock { machine in
      var random = SystemRandomNumberGenerator()
      machine.callEnded(with: failure, at: .now, using: &random)
    }
    tellRefusal()
  }

  /// - Returns: why the call is to be ended, if it is.
  private func receive(_ response: API.WatchSettingsResponse) -> RPCError? {
    let (reaction, snapshot) = machine.withLock { ($0.receive(response, at: .now), $0.snapshot) }
    if case .abandon(let error) = reaction { return error }
    published.withLock { $0 = snapshot }
    guard case .settings(let change) = reaction else { return nil }
    let (mailboxes, waiters) = state.withLock { state in
      defer { state.waiters = [:] }
      return (Array(state.mailboxes.values), Array(state.waiters.values))
    }
    for waiter in waiters { waiter.resume() }
    if let change { for mailbox in mailboxes { mailbox.post(change) } }
    return nil
  }

  /// Tells who waits for the first settings that the server refuses them.
  private func tellRefusal() {
    let status = machine.withLock { $0.status(at: .now) }
    guard status.state == .refused, let error = status.error else { return }
    let waiters = state.withLock { state in
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.resume(throwing: error) }
  }

  /// Cancels the stream once the server has been silent for too long.
  private func watchSilence(of stream: ResponseStream<API.WatchSettingsResponse>) async {
    while let deadline = machine.withLock({ $0.silenceDeadline }) {
      guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
      if machine.withLock({ $0.checkSilence(at: .now) }) {
        stream.cancel()
        return
      }
    }
  }

  /// Ends every wait and every sequence of changes.
  private func close() {
    let (mailboxes, waiters) = state.withLock { state in
      state.isClosed = true
      defer {
        state.waiters = [:]
        state.mailboxes = [:]
      }
      return (Array(state.mailboxes.values), Array(state.waiters.values))
    }
    for waiter in waiters { waiter.resume(throwing: Self.closed) }
    for mailbox in mailboxes { mailbox.close() }
  }
}

/// The subscriptions of a client, for its shutdown.
final class SettingsSubscriptions: Sendable {
  private struct State {
    var subscriptions: [ObjectIdentifier: SettingsSubscription] = [:]
    var isClosed = false
  }

  private let state = Mutex(State())

  func add(_ subscription: SettingsSubscription) {
    let isClosed = state.withLock { state in
      if !state.isClosed { state.subscriptions[ObjectIdentifier(subscription)] = subscription }
      return state.isClosed
    }
    if isClosed { subscription.cancel() } else { subscription.start() }
  }

  func remove(_ subscription: SettingsSubscription) {
    state.withLock { $0.subscriptions[ObjectIdentifier(subscription)] = nil }
  }

  func close() {
    let subscriptions = state.withLock { state in
      state.isClosed = true
      defer { state.subscriptions = [:] }
      return Array(state.subscriptions.values)
    }
    for subscription in subscriptions { subscription.cancel() }
  }
}
