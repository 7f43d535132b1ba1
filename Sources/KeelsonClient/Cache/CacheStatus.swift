public import KeelsonCore

/// How the cache is used by this process: counts since the client was made.
public struct CacheStatus: Sendable, Hashable {
  /// Reads that a copy in this process has answered.
  public var nearHits: UInt64 = 0
  /// Reads that the server has answered with a fresh entry.
  public var hits: UInt64 = 0
  /// Reads that found none.
  public var misses: UInt64 = 0
  /// Loaders that were run.
  public var loads: UInt64 = 0
  /// Of those, that have thrown.
  public var loadFailures: UInt64 = 0
  /// Times that a stale value was given in place of one that could not be loaded, or not in time.
  public var staleValues: UInt64 = 0
  /// Times that another process was waited for, which loaded the same.
  public var waits: UInt64 = 0
  /// Values that were loaded and not stored: too large, the lease was lost, the cache was full.
  public var unstored: UInt64 = 0
  /// Calls to the cache that have failed.
  public var failures: UInt64 = 0
  /// The last of those; nil: the last call went well.
  public var error: RPCError?
  /// Whether the cache is passed by for a moment, because calls to it have failed one after the other.
  public var isPassedBy = false
  /// Copies in this process, and their bytes as they are encoded.
  public var copies = 0
  public var copyBytes = 0
  /// Whether copies are in use: the server has said of late that they are current.
  public var isInSync = false
  /// Invalidations that were heard, and times that all copies were dropped.
  public var invalidations: UInt64 = 0
  public var flushes: UInt64 = 0

  public init() {}
}
