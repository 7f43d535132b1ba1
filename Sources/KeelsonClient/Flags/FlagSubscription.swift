import KeelsonAPI
import KeelsonCore
import Synchronization

/// Runs a flag subscription: does what its state machine says and tells the store.
final class FlagSubscription: Sendable {
  private let client: KeelsonFlagsV1.FlagServiceClient
  private let flagSet: String
  private let environment: String
  private let store: FlagStore
  /// Written by the task that runs the subscription, and by the watch for silence beside it.
  private let machine: Mutex<FlagSubscriptionStateMachine>
  private let task = Mutex<Task<Void, Never>?>(nil)

  init(
    client: KeelsonFlagsV1.FlagServiceClient, flagSet: String, environment: String,
    store: FlagStore, policy: SubscriptionPolicy
  ) {
    self.client = client
    self.flagSet = flagSet
    self.environment = environment
    self.store = store
    machine = Mutex(FlagSubscriptionStateMachine(policy: policy))
  }

  func start() {
    task.withLock { $0 = Task { await run() } }
  }

  /// Ends the subscription without waiting for it.
  func cancel() {
    task.withLock { $0 }?.cancel()
  }

  /// Ends the subscription and returns when it has ended.
  func stop() async {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
  }

  private func run() async {
    while !Task.isCancelled {
      let (step, machine) = machine.withLock { ($0.next(at: .now), $0) }
      store.update(machine)
      switch step {
      case .call(let revision, let waitForReady):
        await watch(from: revision, waitForReady: waitForReady)
      case .wait(let instant):
        // A cancelled sleep ends the loop.
        try? await Task.sleep(until: instant, clock: .continuous)
      case .end: return
      }
    }
    machine.withLock { $0.end() }
    store.close()
  }

  /// One `WatchFlags` call, from its start to its end.
  private func watch(from revision: Int64, waitForReady: Bool) async {
    let stream = client.watchFlags(
      KeelsonFlagsV1.WatchFlagsRequest(
        flagSet: flagSet, environment: environment, resumeRevision: revision),
      options: CallOptions(waitForReady: waitForReady))
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
      failure = RPCError(.unknown, "The stream of flag changes failed: \(error)")
    }
    stream.cancel()
    let machine = machine.withLock { machine in
      var random = SystemRandomNumberGenerator()
      machine.callEnded(with: failure, at: .now, using: &random)
      return machine
    }
    store.update(machine)
  }

  /// - Returns: why the call is to be ended, if it is.
  private func receive(_ response: KeelsonFlagsV1.WatchFlagsResponse) -> RPCError? {
    let (reaction, machine) = machine.withLock { ($0.receive(response, at: .now), $0) }
    switch reaction {
    case .none: store.update(machine)
    case .rules(let change): store.update(machine, hasNewRules: true, change: change)
    case .abandon(let error): return error
    }
    return nil
  }

  /// Cancels the stream once the server has been silent for too long.
  private func watchSilence(
    of stream: ResponseStream<KeelsonFlagsV1.WatchFlagsResponse>
  ) async {
    while let deadline = machine.withLock({ $0.silenceDeadline }) {
      guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
      if machine.withLock({ $0.checkSilence(at: .now) }) {
        stream.cancel()
        return
      }
    }
  }
}
