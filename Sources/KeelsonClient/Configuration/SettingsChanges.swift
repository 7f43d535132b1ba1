import Synchronization

/// The changes of settings, in order, from when they were asked for. Ends when the client is shut
/// down; for as long as it is read, the settings are kept up.
///
/// A reader that falls behind loses nothing: what has changed meanwhile comes as one change. For one
/// reader; ask for another sequence where several are to see all.
public struct SettingsChanges: AsyncSequence, Sendable {
  public typealias Element = SettingsChange
  public typealias Failure = Never

  private let subscriber: Subscriber

  init(
    _ mailbox: SettingsMailbox, of settings: ApplicationSettings,
    leave: @escaping @Sendable () -> Void
  ) {
    subscriber = Subscriber(mailbox: mailbox, settings: settings, leave: leave)
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(subscriber: subscriber, signals: subscriber.mailbox.signals.makeAsyncIterator())
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let subscriber: Subscriber
    fileprivate var signals: AsyncStream<Void>.Iterator

    /// Waits for the next change; nil once there are no more or the task is cancelled.
    public mutating func next() async -> SettingsChange? {
      await next(isolation: #isolation)
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async -> SettingsChange? {
      while await signals.next(isolation: actor) != nil {
        if let change = subscriber.mailbox.take() { return change }
      }
      return Task.isCancelled ? nil : subscriber.mailbox.take()
    }
  }

  /// Leaves when neither the sequence nor a loop over it is left.
  fileprivate final class Subscriber: Sendable {
    let mailbox: SettingsMailbox
    /// Held, so that `configuration(application:).changes` is enough to follow them.
    private let settings: ApplicationSettings
    private let leave: @Sendable () -> Void

    init(
      mailbox: SettingsMailbox, settings: ApplicationSettings, leave: @escaping @Sendable () -> Void
    ) {
      self.mailbox = mailbox
      self.settings = settings
      self.leave = leave
    }

    deinit {
      leave()
    }
  }
}

/// What has changed for one reader since it looked last.
final class SettingsMailbox: Sendable {
  let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let waiting = Mutex<SettingsChange?>(nil)
  private let isWanted: @Sendable (String) -> Bool

  init(isWanted: @escaping @Sendable (String) -> Bool) {
    // One signal is as good as many: what has changed is gathered beside it.
    (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.isWanted = isWanted
  }

  func post(_ change: SettingsChange) {
    let keys = change.keys.filter(isWanted)
    guard !keys.isEmpty else { return }
    waiting.withLock { waiting in
      waiting = SettingsChange(
        keys: keys.union(waiting?.keys ?? []), revision: change.revision)
    }
    signal.yield()
  }

  func take() -> SettingsChange? {
    waiting.withLock { waiting in
      defer { waiting = nil }
      return waiting
    }
  }

  func close() {
    signal.finish()
  }
}
