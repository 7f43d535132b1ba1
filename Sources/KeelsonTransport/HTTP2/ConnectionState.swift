/// A header block while it arrives.
struct IncomingHeaders {
  var stream: HTTP2Stream?
  var fields = HTTP2Fields()
  /// The block is a request's, which the connection's handler reads as it comes.
  var isRequest = false
  /// The size so far: RFC 9113 section 6.5.2.
  var listBytes = 0
  var isTooLarge = false
  /// The block is a response with a 1xx status, which is left out.
  var isInformational = false
}

/// What happened to the connection itself, recorded while nghttp2 works.
struct ConnectionEvents {
  struct GoAway {
    var lastStreamID: Int32
    var errorCode: HTTP2ErrorCode
    var debugText: String
  }

  var settings = false
  var closedStreams = false
  var goAways: [GoAway] = []
  var answeredPings: [UInt64] = []
  /// The peer has gone past a limit; the connection has to end.
  var misbehaviour: String?
  var tooManyPings = false

  var isEmpty: Bool {
    !settings && !closedStreams && goAways.isEmpty && answeredPings.isEmpty && misbehaviour == nil
      && !tooManyPings
  }
}

/// Pings whose answers have not come.
struct PendingPings {
  private struct Ping {
    let payload: UInt64
    let sentAt: UInt64
    let completion: (UInt64) -> Void
  }

  private var pending: [Ping] = []
  private var lastPayload: UInt64 = 0

  /// When the oldest of them was sent.
  var oldest: UInt64? { pending.first?.sentAt }

  /// Remembers a ping and returns the eight bytes that tell it from others.
  mutating func add(at now: UInt64, _ completion: @escaping (UInt64) -> Void) -> UInt64 {
    lastPayload += 1
    pending.append(Ping(payload: lastPayload, sentAt: now, completion: completion))
    return lastPayload
  }

  /// Takes out the ping that was answered; nil for an answer to nothing.
  mutating func take(_ payload: UInt64, now: UInt64) -> (() -> Void)? {
    guard let index = pending.firstIndex(where: { $0.payload == payload }) else { return nil }
    let ping = pending.remove(at: index)
    let milliseconds = now - min(now, ping.sentAt)
    return { ping.completion(milliseconds) }
  }

  mutating func removeAll() {
    pending = []
  }
}

/// Counts a client's pings that come too often. Source: grpc/grpc `doc/keepalive.md`.
struct PingStrikes {
  private var lastPing: UInt64?
  private var strikes = 0

  /// Data or headers were sent: what came before is forgiven.
  mutating func forgive() {
    lastPing = nil
    strikes = 0
  }

  /// Counts a ping frame; true when there were too many.
  mutating func ping(now: UInt64, minimumIntervalMilliseconds: UInt64, allowed: Int) -> Bool {
    defer { lastPing = now }
    guard let lastPing, now - min(now, lastPing) < minimumIntervalMilliseconds else { return false }
    strikes += 1
    return strikes > allowed
  }
}

/// Tokens that are spent by happenings and come back with time.
struct TokenBucket {
  private let burst: Double
  private let perMillisecond: Double
  private var tokens: Double
  private var last: UInt64

  init(burst: Int, perSecond: Int, now: UInt64) {
    self.burst = Double(burst)
    perMillisecond = Double(perSecond) / 1_000
    tokens = Double(burst)
    last = now
  }

  /// Spends one; false when there is none.
  mutating func take(now: UInt64) -> Bool {
    if now > last {
      tokens = min(burst, tokens + Double(now - last) * perMillisecond)
      last = now
    }
    guard tokens >= 1 else { return false }
    tokens -= 1
    return true
  }

  /// Gives some back, ahead of time.
  mutating func give(_ count: Int) {
    tokens = min(burst, tokens + Double(count))
  }
}

/// Counts what a peer sends that costs us and brings it nothing: each kind has a bucket of its own.
struct IdleFrames {
  enum Kind: Int, CaseIterable {
    /// DATA without data that does not end its stream (CVE-2019-9518).
    case emptyData
    case priority
    /// SETTINGS after the first (CVE-2019-9515).
    case settings
    /// CVE-2019-9512.
    case ping
    /// More than ten for each DATA frame, and two for each stream, that it got.
    case windowUpdate
    /// RST_STREAM (CVE-2023-44487); it has a burst and a rate of its own.
    case reset
    /// What makes us reset a stream (CVE-2025-8671).
    case forcedReset
    /// Header lists over the limit.
    case oversizedHeaders
    /// GOAWAY, which may come any number of times.
    case goAway
    /// Frames that nghttp2 calls invalid; clients only.
    case invalid
  }

  private static let names = [
    "empty DATA frames", "PRIORITY frames", "SETTINGS frames", "PING frames",
    "WINDOW_UPDATE frames", "RST_STREAM frames", "frames that made the server reset streams",
    "header lists over the limit", "GOAWAY frames", "invalid frames",
  ]
  private static let windowUpdatesPerDataFrame = 10
  private static let windowUpdatesPerStream = 2

  private var buckets: [TokenBucket]

  init(_ limits: HTTP2Limits, now: UInt64) {
    buckets = Kind.allCases.map { kind in
      let (burst, perSecond) =
        kind == .reset
        ? (limits.streamResetBurst, limits.streamResetsPerSecond)
        : (limits.idleFrameBurst, limits.idleFramesPerSecond)
      return TokenBucket(burst: burst, perSecond: perSecond, now: now)
    }
  }

  /// Counts one; what the peer did when that was one too many.
  mutating func count(_ kind: Kind, now: UInt64) -> String? {
    buckets[kind.rawValue].take(now: now) ? nil : "it sent too many " + Self.names[kind.rawValue]
  }

  mutating func sentData() {
    buckets[Kind.windowUpdate.rawValue].give(Self.windowUpdatesPerDataFrame)
  }

  mutating func openedStream() {
    buckets[Kind.windowUpdate.rawValue].give(Self.windowUpdatesPerStream)
  }
}

/// The streams that we reset last. The peer may have sent more on them before it knew; it cannot
/// have more such streams than it may open at once.
struct OwnResets {
  private let capacity: Int
  private var ids: [Int32] = []
  private var next = 0

  init(capacity: Int) {
    self.capacity = capacity
  }

  mutating func insert(_ id: Int32) {
    if ids.count < capacity {
      ids.append(id)
    } else {
      ids[next] = id
      next = (next + 1) % capacity
    }
  }

  func contains(_ id: Int32) -> Bool { ids.contains(id) }
}

/// Where a graceful shutdown stands.
enum ShutdownState {
  case none
  /// The warning GOAWAY is out; the second follows the answer to a ping, or a timeout.
  case warned
  /// The second GOAWAY is out: the connection ends with its last stream.
  case announced
}

/// The moments that a connection's timers look at, in milliseconds of the loop's clock.
struct ConnectionTimes {
  let started: UInt64
  var lastReceived: UInt64
  /// Since when no stream is open.
  var idleSince: UInt64?
  /// Since when bytes wait that the peer does not take.
  var stalledSince: UInt64?
  /// Since when a header block is arriving.
  var headersBegan: UInt64?
  /// Since when nobody has looked for streams that stall; nil while none can.
  var stallsWatchedSince: UInt64?
  var keepalivePingSent: UInt64?
  var shutdownNoticeSent: UInt64?
  var timer: Loop.Timer?
  var timerDue: UInt64 = .max

  init(now: UInt64) {
    started = now
    lastReceived = now
    idleSince = now
  }
}
