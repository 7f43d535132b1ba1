public import KeelsonCore

/// How the settings of a client stand: whether there are any, and how fresh they are.
public struct SettingsStatus: Sendable, Hashable {
  /// What can be relied on.
  public enum State: Sendable, Hashable {
    /// No settings have arrived yet: reads give their defaults.
    case connecting
    /// The server refuses to send them; ``SettingsStatus/error`` says why. It is tried again now
    /// and then.
    case refused
    /// The settings are the server's, as of the last heartbeat at the latest.
    case current
    /// The settings are those of that moment: the server is out of reach.
    case stale(since: ContinuousClock.Instant)
    /// The client was shut down: the last settings stay as they are.
    case shutdown
  }

  public var state: State
  /// Everything up to and including this revision is in the settings.
  public var revision: Int64
  /// When the server was last heard: a change, or a heartbeat that says there is none. nil before
  /// the first word.
  public var lastWord: ContinuousClock.Instant?
  /// The server says something at least this often.
  public var heartbeatInterval: Duration
  /// How many times the stream was begun, the first time included.
  public var attempts: Int
  /// Why the stream ended or could not be begun; nil while it is running well.
  public var error: RPCError?

  /// How long ago the server was last heard; nil before the first word.
  public var age: Duration? { lastWord.map { $0.duration(to: .now) } }
}
