public import KeelsonCore

/// What hears of a ``JobWorker``'s life, for its log. Each is called on whatever task it happens in,
/// and returns soon.
public struct JobWorkerObserver: Sendable {
  /// A server has welcomed the worker: at first, and after each interruption.
  public var connected: @Sendable () -> Void
  /// The stream to the server was lost, or there was none. It dials again.
  public var interrupted: @Sendable (RPCError) -> Void
  /// An attempt begins.
  public var began: @Sendable (JobRun) -> Void
  /// An attempt has ended, with the error that its handler has thrown, if any: `CancellationError`
  /// when it was broken off.
  public var ended: @Sendable (JobRun, (any Error)?) -> Void

  public init(
    connected: @escaping @Sendable () -> Void = {},
    interrupted: @escaping @Sendable (RPCError) -> Void = { _ in },
    began: @escaping @Sendable (JobRun) -> Void = { _ in },
    ended: @escaping @Sendable (JobRun, (any Error)?) -> Void = { _, _ in }
  ) {
    self.connected = connected
    self.interrupted = interrupted
    self.began = began
    self.ended = ended
  }
}
