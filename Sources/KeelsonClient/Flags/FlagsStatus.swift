public import KeelsonCore

/// How the flags of a client stand: whether there are any, and how fresh they are.
public struct FlagsStatus: Sendable, Hashable {
  /// What can be relied on.
  public var state: FlagsState
  /// Everything up to and including this revision is in the rules.
  public var revision: Int64
  /// When the server was last heard: a change, or a heartbeat that says there is none. nil before
  /// the first word.
  public var lastWord: ContinuousClock.Instant?
  /// The server says something at least this often.
  public var heartbeatInterval: Duration
  /// How many heartbeats have come.
  public var heartbeats: Int
  /// How many times the stream was begun, the first time included.
  public var attempts: Int
  /// Why the stream ended or could not be begun; nil while it is running well.
  public var error: RPCError?

  /// How long ago the server was last heard; nil before the first word.
  public var age: Duration? { lastWord.map { $0.duration(to: .now) } }
}

/// What can be relied on of a client's flags.
public enum FlagsState: Sendable, Hashable {
  /// No rules have arrived yet: evaluations give their defaults.
  case connecting
  /// The server refuses to send the flags; ``FlagsStatus/error`` says why. Evaluations give their
  /// defaults; it is tried again now and then.
  case refused
  /// The rules are the server's, as of the last heartbeat at the latest.
  case current
  /// The rules are those of that moment. Evaluations use them while the server is out of reach.
  case stale(since: ContinuousClock.Instant)
  /// The configuration wants no flags: evaluations give their defaults.
  case notSubscribed
  /// The client was shut down: the last rules stay as they are.
  case shutdown
}
