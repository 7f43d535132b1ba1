import KeelsonCore
import Synchronization

/// The changes of the flags, in order, from when ``Flags/changes`` was asked for. Ends when the
/// client is shut down.
///
/// A reader that falls behind loses nothing: when ``bufferedChanges`` wait for it, later ones are
/// merged into the last of them. Two loops over the same sequence share its changes between them;
/// ask ``Flags/changes`` for another sequence where both are to see all.
public struct FlagChanges: AsyncSequence, Sendable {
  public typealias Element = FlagChange
  public typealias Failure = Never

  /// How many changes wait for a slow reader one by one.
  public static let bufferedChanges = 64

  private let subscriber: Subscriber

  init(mailbox: FlagChangeMailbox, leave: @escaping @Sendable () -> Void) {
    subscriber = Subscriber(mailbox: mailbox, leave: leave)
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(subscriber: subscriber)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let subscriber: Subscriber

    /// Waits for the next change; nil once the client is shut down or the task is cancelled.
    public mutating func next() async -> FlagChange? {
      await subscriber.mailbox.next()
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async -> FlagChange? {
      await subscriber.mailbox.next()
    }
  }

  /// Leaves when neither the sequence nor a loop over it is left.
  fileprivate final class Subscriber: Sendable {
    let mailbox: FlagChangeMailbox
    private let leave: @Sendable () -> Void

    init(mailbox: FlagChangeMailbox, leave: @escaping @Sendable () -> Void) {
      self.mailbox = mailbox
      self.leave = leave
    }

    deinit {
      leave()
    }
  }
}

/// The changes that wait for one subscriber.
final class FlagChangeMailbox: Sendable {
  private struct State {
    var changes: [FlagChange] = []
    var isClosed = false
    var readers: [(id: Int, continuation: CheckedContinuation<FlagChange?, Never>)] = []
    var nextID = 0
  }

  private let state = Mutex(State())

  func post(_ change: FlagChange) {
    let reader = state.withLock { state -> CheckedContinuation<FlagChange?, Never>? in
      if !state.readers.isEmpty { return state.readers.removeFirst().continuation }
      if state.changes.count < FlagChanges.bufferedChanges {
        state.changes.append(change)
      } else {
        state.changes[state.changes.count - 1].merge(change)
      }
      return nil
    }
    reader?.resume(returning: change)
  }

  /// Ends the sequence after what waits in it.
  func close() {
    let readers = state.withLock { state in
      state.isClosed = true
      defer { state.readers = [] }
      return state.readers
    }
    for reader in readers { reader.continuation.resume(returning: nil) }
  }

  func next() async -> FlagChange? {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (isDue, change) = state.withLock { state -> (Bool, FlagChange?) in
          if !state.changes.isEmpty { return (true, state.changes.removeFirst()) }
          if state.isClosed || Task.isCancelled { return (true, nil) }
          state.readers.append((id, continuation))
          return (false, nil)
        }
        if isDue { continuation.resume(returning: change) }
      }
    } onCancel: {
      let reader = state.withLock { state in
        state.readers.firstIndex { $0.id == id }.map { state.readers.remove(at: $0) }
      }
      reader?.continuation.resume(returning: nil)
    }
  }
}
