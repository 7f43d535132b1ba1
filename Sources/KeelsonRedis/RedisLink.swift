import KeelsonCacheRules
import KeelsonCore
import KeelsonTransport
import Synchronization

/// What keeps ``KnownInvalidations`` true: a connection that is subscribed to the invalidations, and one
/// that asks for what is long or rare. Both are made anew whenever one is lost.
///
/// `@unchecked Sendable`: touched on its loop only, but for what is atomic or has its own lock.
final class RedisLink: @unchecked Sendable {
  private enum Phase {
    /// There are no connections. Can transition to: reading.
    case away
    /// Messages wait until the view is read. Can transition to: following, away.
    case reading([InvalidationMessage])
    /// Can transition to: reading, away.
    case following
  }

  let loop: Loop
  let known = KnownInvalidations()
  let waiters = LeaseWaiters()
  let gauge = MemoryGauge()
  let configuration: RedisConfiguration
  let channel: String
  private let connector: RedisConnector
  private let logger: Logger
  private var phase = Phase.away
  private(set) var control: RedisConnection?
  private var listening: RedisConnection?
  private var attempting: ConnectAttempt?
  private(set) var digests: [[UInt8]] = []
  private var observer: (@Sendable (CacheFeedEvent) -> Void)?
  private var pingTimer: Loop.Timer?
  private var lookTimer: Loop.Timer?
  private var lastUse: UInt64 = 0
  private var lastTick = never
  /// When it was last asked whether all is known that has become void.
  private let asked = Atomic<Int64>(never)
  /// As of when all of that was told, and as of when Redis was the primary.
  private var told = never
  private var led = never
  private let isUsed = Atomic(false)
  private var ended: CheckedContinuation<RedisError, Never>?
  private var failure: RedisError?
  private var pause: (timer: Loop.Timer, continuation: CheckedContinuation<Void, Never>)?
  private var isClosed = false
  /// Called on the loop after each look while all is well, and told what there is to sweep.
  var onLook: ((RedisLook) -> Void)?
  /// Called on the loop: nil when it is up to date, otherwise why it is not.
  let onStateChange: @Sendable (RedisError?) -> Void

  /// While nobody asks, the subscription is looked after this seldom.
  private static let idleInterval: UInt64 = 250
  private static let idleAfter: UInt64 = 1_000
  /// Who waits is not asked for more often, nanoseconds.
  private static let shortestInterval: Int64 = 1_000_000
  private static let never = Int64.min

  init(
    _ connector: RedisConnector, on loop: Loop, logger: Logger,
    onStateChange: @escaping @Sendable (RedisError?) -> Void
  ) {
    self.connector = connector
    self.loop = loop
    self.logger = logger
    self.onStateChange = onStateChange
    configuration = connector.configuration
    channel = CacheNames.channel(database: configuration.url.database)
  }

  // MARK: Life

  /// Keeps the link until it is closed. On the loop.
  ///
  /// - Parameter onFirst: called once the first attempt has ended: why it failed, or nil.
  func run(onFirst: @escaping (RedisError?) -> Void) async {
    var backoff = Backoff(
      shortest: RedisConfiguration.shortestRetryDelay,
      longest: configuration.limits.longestRetryDelay)
    var onFirst: ((RedisError?) -> Void)? = onFirst
    var isDown = false
    while !isClosed {
      do throws(RedisError) {
        try await establish()
        backoff.reset()
        if isDown { logger.log(.info, "The cache's Redis can be used again.") }
        isDown = false
        onStateChange(nil)
        onFirst?(nil)
        onFirst = nil
        throw await loss()
      } catch {
        tearDown(error)
        guard !isClosed else { break }
        if !isDown { logger.log(.warning, "The cache's Redis cannot be used: \(error.message)") }
        isDown = true
        onStateChange(error)
        onFirst?(error)
        onFirst = nil
        await wait(backoff.pause())
      }
    }
    tearDown(RedisError.shuttingDown)
    onFirst?(RedisError.shuttingDown)
    onLook = nil
  }

  /// Ends it for good. On the loop.
  func close() {
    isClosed = true
    attempting?.cancel()
    lose(RedisError.shuttingDown)
    if let (timer, continuation) = pause {
      pause = nil
      loop.cancel(timer)
      continuation.resume()
    }
  }

  private func wait(_ duration: Duration) async {
    await withCheckedContinuation { continuation in
      let timer = loop.schedule(after: duration) { [weak self] in
        self?.pause = nil
        continuation.resume()
      }
      pause = (timer, continuation)
    }
  }

  private func connect() async throws(RedisError) -> RedisConnection {
    guard !isClosed else { throw RedisError.shuttingDown }
    let attempt = connector.attempt(on: loop)
    attempting = attempt
    defer { attempting = nil }
    let connection = try await attempt.run()
    guard !isClosed else {
      connection.close()
      throw .shuttingDown
    }
    connection.onLoss = { [weak self] error in self?.lose(error) }
    return connection
  }

  private func establish() async throws(RedisError) {
    do throws(RedisError) {
      try await connectAndRead()
    } catch  where error.isAboutRights {
      throw .tooFewRights(at: configuration.url, error.message)
    }
    // One of the connections may have been lost while the other was waited for.
    if let failure { throw failure }
    tick()
    scheduleLook()
  }

  private func connectAndRead() async throws(RedisError) {
    failure = nil
    let control = try await connect()
    self.control = control
    let listening = try await connect()
    self.listening = listening
    guard listening.runID == control.runID else {
      throw RedisError(
        .unreachable, "The cache's address leads now to one Redis, now to another.")
    }
    digests = try await load(control)
    // Redis's clock and memory have to be known ahead of the first call.
    try await look(control)
    phase = .reading([])
    listening.onPush = { [weak self] reply in self?.take(reply) ?? false }
    _ = try await listening.ask(RedisCommand("SUBSCRIBE", channel)).checked()
    try await read()
    try await firstPing(listening, control)
  }

  /// Has Redis keep the scripts, and returns what it calls them by.
  private func load(_ control: RedisConnection) async throws(RedisError) -> [[UInt8]] {
    let replies = try await control.ask(
      RedisScript.allCases.map { RedisCommand("SCRIPT", "LOAD", $0.text) },
      timeout: configuration.limits.connectTimeout)
    var digests: [[UInt8]] = []
    for reply in replies { digests.append(try reply.checked().bytes ?? []) }
    return digests
  }

  /// Waits until a connection is lost, and says why.
  private func loss() async -> RedisError {
    await withCheckedContinuation { continuation in
      if let failure { continuation.resume(returning: failure) } else { ended = continuation }
    }
  }

  /// Has the link made anew. On the loop.
  func lose(_ error: RedisError) {
    failure = failure ?? error
    phase = .away
    (told, led) = (Self.never, Self.never)
    let ended = ended
    self.ended = nil
    ended?.resume(returning: error)
    // Nothing is given out from now on; the rest is torn down by who waits for the loss.
    known.end(error)
  }

  private func tearDown(_ error: RedisError) {
    phase = .away
    known.end(error)
    for timer in [pingTimer, lookTimer].compactMap(\.self) { loop.cancel(timer) }
    pingTimer = nil
    lookTimer = nil
    control?.close()
    control = nil
    listening?.close()
    listening = nil
    // Who waits asks again, and hears that there is no Redis.
    waiters.wakeAll()
  }

  // MARK: The view

  /// Reads what has become void, and then takes in the messages that came meanwhile.
  private func read() async throws(RedisError) {
    for _ in 0..<3 {
      guard let control else { throw failure ?? RedisError.shuttingDown }
      let read = try await readView(control)
      guard case .reading(let messages) = phase else { throw failure ?? RedisError.shuttingDown }
      phase = .reading([])
      guard let (view, link) = read else { continue }
      known.begin(link, view)
      observer?(.start(CachePosition(epoch: link.epoch, sequence: view.sequence)))
      waiters.wakeAll()
      if messages.allSatisfy({ follow($0) }) {
        phase = .following
        return
      }
    }
    throw RedisError(.unreachable, "What has become void in Redis changes too fast to be read.")
  }

  /// Reads the view anew, because it is of another epoch or something was missed. On the loop.
  ///
  /// - Parameter epoch: only if what is known is of this one.
  func renew(ifOf epoch: UInt64? = nil) {
    guard case .following = phase else { return }
    if let epoch, known.position?.epoch != epoch { return }
    phase = .reading([])
    known.suspend()
    Task(executorPreference: loop) { [self] in
      do throws(RedisError) {
        try await read()
        ping()
      } catch {
        lose(error)
      }
    }
  }

  // MARK: Messages

  private func take(_ reply: RedisReply) -> Bool {
    guard let parts = reply.array, parts.count == 3, parts[0].bytes == Self.messageKind else {
      return false
    }
    guard let message = parts[2].bytes.flatMap({ InvalidationMessage($0) }) else {
      // A server of another version may know kinds of messages that this one does not.
      if case .following = phase { renew() }
      return true
    }
    switch phase {
    case .away: break
    case .reading(var messages):
      // Taken out first, so that it is not copied.
      phase = .away
      messages.append(message)
      phase = .reading(messages)
    case .following:
      if !follow(message) { renew() }
    }
    return true
  }

  private static let messageKind = Array("message".utf8)

  /// Takes in what has happened; false when the view has to be read anew.
  private func follow(_ message: InvalidationMessage) -> Bool {
    guard message.epoch == known.position?.epoch else {
      // What is left of an epoch that has ended is void with it.
      if case .newEpoch = message.content { return false }
      return true
    }
    switch message.content {
    case .leaseEnded(let key): waiters.wake(key)
    case .bansDropped(let sequence): dropBans(upTo: sequence, epoch: message.epoch)
    case .newEpoch: break
    case .invalidation(let scope):
      let invalidation = Invalidation(sequence: message.sequence, scope: scope)
      switch known.apply(invalidation) {
      case .known: break
      case .gap: return false
      case .applied:
        observer?(.invalidation(invalidation))
        switch scope {
        case .keys(let keys): for key in keys { waiters.wake(key) }
        case .all: waiters.wakeAll()
        case .tags, .pattern: break
        }
      }
    }
    return true
  }

  /// Drops bans once every get is over that may have read what the sweep then deleted: none is given
  /// out later than the staleness after it was sent.
  private func dropBans(upTo sequence: UInt64, epoch: UInt64) {
    _ = loop.schedule(after: configuration.limits.staleness) { [weak self] in
      guard let self, known.position?.epoch == epoch else { return }
      known.dropBans(upTo: sequence)
    }
  }

  /// On the loop.
  func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {
    self.observer = observer
    if case .following = phase, let position = known.position { observer(.start(position)) }
  }

  // MARK: Time of knowledge

  /// Somebody relies on what is known. From any thread.
  func use() {
    if !isUsed.load(ordering: .relaxed) { isUsed.store(true, ordering: .relaxed) }
  }

  /// Somebody waits to know what had become void by a time. From any thread.
  func hurry(asOf time: Int64) {
    // What was asked since then is answered for all who wait.
    guard asked.load(ordering: .relaxed) < time else { return }
    loop.run { [self] in
      // By the clock itself: the loop's stands still in a turn that takes long.
      let now = MonotonicTime.now
      guard asked.load(ordering: .relaxed) < time, let pingTimer,
        now > lastTick + Self.shortestInterval
      else { return }
      loop.cancel(pingTimer)
      lastUse = loop.now
      tick()
    }
  }

  private func tick() {
    let now = loop.now
    lastTick = MonotonicTime.now
    if isUsed.exchange(false, ordering: .relaxed) { lastUse = now }
    ping()
    known.expire(now: MonotonicTime.now)
    let isIdle = now - min(now, lastUse) > Self.idleAfter
    let interval = isIdle ? Self.idleInterval : configuration.limits.pingInterval.wholeMilliseconds
    pingTimer = loop.schedule(afterMilliseconds: max(1, interval) - 1) { [weak self] in
      self?.tick()
    }
  }

  private func ping() {
    guard case .following = phase, let listening, let control else { return }
    let sent = MonotonicTime.now
    asked.store(sent, ordering: .relaxed)
    listening.send(RedisCommand("PING")) { [weak self] result in
      // What had become void when this was sent was told ahead of the answer.
      guard let self, case .success = result, case .following = phase else { return }
      told = max(told, sent)
      known.advance(to: min(told, led))
    }
    // A primary that has become a replica keeps its connections, and is behind.
    control.send(RedisCommand("ROLE")) { [weak self] result in
      guard let self, case .success(let reply) = result, case .following = phase else { return }
      do throws(RedisError) {
        try RedisInformation.checkRole(reply)
      } catch {
        return lose(error)
      }
      led = max(led, sent)
      known.advance(to: min(told, led))
    }
  }

  private func firstPing(
    _ listening: RedisConnection, _ control: RedisConnection
  ) async throws(RedisError) {
    let sent = MonotonicTime.now
    _ = try await listening.ask(RedisCommand("PING")).checked()
    try RedisInformation.checkRole(try await control.ask(RedisCommand("ROLE")))
    guard case .following = phase else { return }
    (told, led) = (sent, sent)
    known.advance(to: sent)
  }

  // MARK: Looks

  private func scheduleLook() {
    lookTimer = loop.schedule(after: configuration.limits.lookInterval) { [weak self] in
      self?.lookTimer = nil
      self?.look()
    }
  }

  private func look() {
    Task(executorPreference: loop) { [weak self] in
      guard let self, let control else { return }
      do throws(RedisError) {
        try await look(control)
        if self.control === control { scheduleLook() }
      } catch {
        if self.control === control { lose(error) }
      }
    }
  }

  private func look(_ control: RedisConnection) async throws(RedisError) {
    let sent = MonotonicTime.now
    let replies = try await control.ask([
      RedisCommand("TIME"), RedisCommand("INFO", "memory"),
      beginCommand(control, isLoaded: true),
    ])
    gauge.takeTime(try replies[0].checked(), sent: sent, received: MonotonicTime.now)
    gauge.takeMemory(try RedisInformation(replies[1]), limits: configuration.limits)
    let look: RedisLook
    if case .error(let message) = replies[2], message.hasPrefix("NOSCRIPT") {
      look = try await begin(control)
    } else {
      look = try RedisLook(begin: try replies[2].checked())
    }
    guard case .following = phase else { return }
    if known.position?.epoch == look.epoch { onLook?(look) } else { renew() }
  }
}
