public import KeelsonCore

/// How a client deals with the cache.
public struct CacheConfiguration: Sendable {
  /// How values are remembered, where a call says nothing else.
  public var policy = CachePolicy()
  /// Bytes of copies, as they are encoded, that this process keeps of what it has read; 0: none.
  public var nearCacheBytes = 16 << 20
  /// How old what this process is given may be. Where the servers promise less to all
  /// (`cache-staleness`, which is the same if not set), that counts from the beginning of the first
  /// stream of invalidations on, and not without copies. Lower than theirs it holds for copies; what a
  /// server answers is as old as the server allows.
  public var stalenessLimit: Duration = .milliseconds(100)
  /// How often the server is asked whether copies are current, while they are in use.
  public var pingInterval: Duration = .milliseconds(20)
  /// How long a ping may be without its answer before another stream of invalidations is begun.
  var silenceLimit: Duration = .seconds(2)
  /// How long `remember` waits for the cache's answer, beside waiting for what another loads.
  public var callTimeout: Duration = .milliseconds(100)
  /// Larger values, encoded, are not sent to the server: it takes 1 MiB (`cache-value-size`).
  public var maximumValueBytes = 1 << 20
  /// Hears what is wrong with the cache when `remember` goes without it. On whatever task it happens
  /// in; returns soon.
  public var onError: (@Sendable (RPCError) -> Void)?

  public init() {}
}

/// How `remember` gets hold of a value.
public struct CachePolicy: Sendable, Hashable {
  /// The part of its time by which an entry's life is shortened at most, at random, so that what was
  /// stored together does not end together: 0 to 0.5.
  public var jitter = 0.1
  /// How long after its time a value is still good enough when it cannot be loaded anew; 0: not at
  /// all. What was invalidated never is.
  public var staleLimit: Duration = .seconds(600)
  /// From which part of its time on a value that is asked for is loaded anew beside it, in the
  /// background: above 0; 1 or more: never.
  public var refreshAfter = 0.9
  /// How long a caller waits for loading before it gets a stale value, if there is one that was not
  /// made void as of when the caller came; loading goes on. nil: until it has ended.
  public var softTimeout: Duration? = .milliseconds(500)
  /// How long all of it may take before a caller gets a stale value or DEADLINE_EXCEEDED, and loading
  /// is cancelled; nil: as long as loading takes.
  public var hardTimeout: Duration?
  /// How long nobody else loads the same: the longest that loading should take. 10 ms to 60 s. What
  /// was loaded after that is returned, and not stored; who calls after that does not wait for it.
  public var leaseDuration: Duration = .seconds(10)
  /// How long to wait for what another process loads before loading it here, too.
  public var waitLimit: Duration = .seconds(5)
  /// How long it is remembered that there is nothing: of loaders that return nil.
  public var negativeTTL: Duration = .seconds(30)

  public init() {}
}
