public import KeelsonCore

/// How entries are gathered and sent.
public struct AuditRecordingPolicy: Sendable {
  /// How many entries may wait; beyond, ``Audit/record(_:)`` waits for room.
  public var bufferedEntries = 10_000
  /// How many bytes those may have; beyond, likewise. One entry that is larger waits alone.
  public var bufferedBytes = 64 << 20
  /// How many entries go in one call, 1,000 at most; fewer when they have more than 1 MiB.
  public var entriesPerCall = 500
  /// How long to go on trying while the server cannot be reached or is overloaded; then the entries
  /// are given up.
  public var retryTimeout: Duration = .seconds(300)
  /// How long ``KeelsonClient/shutdown()`` waits for what was not sent yet.
  public var shutdownTimeout: Duration = .seconds(5)
  /// Told of entries that are given up: how many, and why.
  public var onFailure: (@Sendable (Int, RPCError) -> Void)?

  public init() {}
}
