import KeelsonCore
import KeelsonFlagRules
import Synchronization

/// What the subscription writes and everyone else reads: the rules, how they stand, who waits for
/// them and who follows their changes.
///
/// Rules are immutable and swapped as a whole: the lock is held to copy a reference, never while
/// rules are compiled or evaluated.
final class FlagStore: Sendable {
  /// Rules with the revision they are complete up to.
  final class Rules: Sendable {
    let set: FlagRuleSet
    let revision: Int64

    init(_ set: FlagRuleSet, revision: Int64) {
      self.set = set
      self.revision = revision
    }
  }

  private struct State {
    var machine: FlagSubscriptionStateMachine?
    var mailboxes: [Int: FlagChangeMailbox] = [:]
    var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]
    var nextID = 0
    var isClosed = false
  }

  /// Apart from the rest, so that evaluations meet nobody else at their lock.
  private let published = Mutex<Rules?>(nil)
  private let state: Mutex<State>
  private let isSubscribed: Bool

  init(isSubscribed: Bool) {
    self.isSubscribed = isSubscribed
    state = Mutex(State())
  }

  /// The rules now; nil before any have arrived.
  var rules: Rules? { published.withLock { $0 } }

  /// How the flags stand now.
  var status: FlagsStatus {
    let (machine, isClosed) = state.withLock { ($0.machine, $0.isClosed) }
    let blank = FlagSubscriptionStateMachine(policy: SubscriptionPolicy())
    var status = (machine ?? blank).status(at: .now)
    if !isSubscribed { status.state = .notSubscribed }
    if isClosed { status.state = .shutdown }
    return status
  }

  // MARK: The subscription's side

  /// Notes where the subscription stands. New rules come first, then who waits for them.
  ///
  /// - Parameter hasNewRules: whether the rules are others than at the last call, which the
  ///   revision alone does not tell: a server whose data was restored may send other rules at
  ///   the same one.
  func update(
    _ machine: FlagSubscriptionStateMachine, hasNewRules: Bool = false, change: FlagChange? = nil
  ) {
    if let set = machine.rules, hasNewRules || rules?.revision != machine.revision {
      let rules = Rules(set, revision: machine.revision)
      published.withLock { $0 = rules }
    }
    let isRefused = machine.status(at: .now).state == .refused
    let (mailboxes, waiters) = state.withLock { state in
      state.machine = machine
      guard machine.rules != nil || isRefused else {
        return (Array(state.mailboxes.values), [CheckedContinuation<Void, any Error>]())
      }
      defer { state.waiters = [:] }
      return (Array(state.mailboxes.values), Array(state.waiters.values))
    }
    for waiter in waiters {
      if isRefused, let error = machine.error {
        waiter.resume(throwing: error)
      } else {
        waiter.resume()
      }
    }
    if let change { for mailbox in mailboxes { mailbox.post(change) } }
  }

  /// Ends every wait and every sequence of changes.
  func close() {
    let (mailboxes, waiters) = state.withLock { state in
      state.isClosed = true
      defer {
        state.waiters = [:]
        state.mailboxes = [:]
      }
      return (Array(state.mailboxes.values), Array(state.waiters.values))
    }
    for waiter in waiters { waiter.resume(throwing: FlagStore.closed) }
    for mailbox in mailboxes { mailbox.close() }
  }

  private static let closed = RPCError(.cancelled, "The client was shut down.")

  // MARK: The users' side

  /// How many sequences of changes are followed.
  var readers: Int { state.withLock { $0.mailboxes.count } }

  func changes() -> FlagChanges {
    let mailbox = FlagChangeMailbox()
    let id = state.withLock { state -> Int? in
      guard !state.isClosed else { return nil }
      state.nextID += 1
      state.mailboxes[state.nextID] = mailbox
      return state.nextID
    }
    guard let id else {
      mailbox.close()
      return FlagChanges(mailbox: mailbox) {}
    }
    return FlagChanges(mailbox: mailbox) { [weak self] in
      self?.state.withLock { $0.mailboxes[id] = nil }
    }
  }

  /// Waits until there are rules.
  ///
  /// - Throws: the server's refusal; CANCELLED once closed; FAILED_PRECONDITION without a
  ///   subscription; `CancellationError`.
  func ready() async throws {
    guard isSubscribed else {
      throw RPCError(
        .failedPrecondition,
        "This client has no flags: its configuration's subscribesToFlags is false.")
    }
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Void, any Error>) in
        let verdict = state.withLock { state -> Result<Void, any Error>? in
          if rules != nil { return .success(()) }
          if state.isClosed { return .failure(FlagStore.closed) }
          if Task.isCancelled { return .failure(CancellationError()) }
          if let machine = state.machine, machine.status(at: .now).state == .refused,
            let error = machine.error
          {
            return .failure(error)
          }
          state.waiters[id] = continuation
          return nil
        }
        if let verdict { continuation.resume(with: verdict) }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?
        .resume(throwing: CancellationError())
    }
  }
}
