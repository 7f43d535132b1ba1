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
  private var digests: [[UInt8]] = []
  private var observer: (@Sendable (CacheFeedEvent) -> Void)?
  private var pingTimer: Loop.Timer?
  private var lookTimer: Loop.Timer?
  private var lastUse: UInt64 = 0
  private var lastPing: UInt64 = 0
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
    tearDown(Self.closed)
    onFirst?(Self.closed)
    onLook = nil
  }

  static let closed = RedisError(
    .unreachable, "There is no connection to Redis: the server is shutting down.")

  /// Ends it for good. On the loop.
  func close() {
    isClosed = true
    attempting?.cancel()
    lose(Self.closed)
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
    guard !isClosed else { throw Self.closed }
    let attempt = connector.attempt(on: loop)
    attempting = attempt
    defer { attempting = nil }
    let connection = try await attempt.run()
    connection.onLoss = { [weak self] error in self?.lose(error) }
    return connection
  }

  private func establish() async throws(RedisError) {
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
    try await firstPing(listening)
    tick()
    scheduleLook()
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
      guard let control else { throw failure ?? Self.closed }
      let read = try await readView(control)
      guard case .reading(let messages) = phase else { throw failure ?? Self.closed }
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

  /// nil when it changed in between.
  private func readView(
    _ control: RedisConnection
  ) async throws(RedisError) -> (InvalidationView, KnownInvalidations.Link)? {
    let look = try await begin(control)
    let timeout = configuration.limits.connectTimeout
    let replies = try await control.ask(
      [
        RedisCommand("MULTI"),
        RedisCommand("HMGET", CacheNames.meta, "epoch", "sequence", "floor", "tags", "bans"),
        RedisCommand("ZRANGE", CacheNames.tags, "0", "-1", "WITHSCORES"),
        RedisCommand("HGETALL", CacheNames.bans),
        RedisCommand("EXEC"),
      ], timeout: timeout)
    for reply in replies { _ = try reply.checked() }
    guard let parts = replies[4].array, parts.count == 3, let meta = parts[0].array,
      let tags = parts[1].array, let bans = parts[2].array, meta.count == 5,
      meta[0].text.flatMap({ UInt64($0) }) == look.epoch,
      let sequence = meta[1].number, let floor = meta[2].number,
      meta[3].number == Int64(tags.count / 2), meta[4].number == Int64(bans.count / 2)
    else { return nil }
    var byTag: [String: UInt64] = [:]
    byTag.reserveCapacity(tags.count / 2)
    for index in stride(from: 0, to: tags.count - 1, by: 2) {
      guard let tag = tags[index].text, let score = tags[index + 1].text.flatMap({ UInt64($0) })
      else { continue }
      byTag[tag] = score
    }
    var patterns: [InvalidationView.Ban] = []
    for index in stride(from: 0, to: bans.count - 1, by: 2) {
      guard let text = bans[index].text, let pattern = try? CachePattern(text),
        let number = bans[index + 1].number
      else { continue }
      patterns.append(InvalidationView.Ban(sequence: UInt64(clamping: number), pattern: pattern))
    }
    patterns.sort { $0.sequence < $1.sequence }
    let view = InvalidationView(
      epoch: look.epoch, sequence: UInt64(clamping: sequence), floor: UInt64(clamping: floor),
      tags: byTag, bans: patterns, limits: configuration.limits.view)
    let link = KnownInvalidations.Link(
      epoch: look.epoch, epochText: "\(look.epoch)", runID: control.runID, digests: digests)
    return (view, link)
  }

  /// The epoch of this Redis process, a new one if it may have lost something.
  private func begin(_ control: RedisConnection) async throws(RedisError) -> RedisLook {
    let reply = try await control.ask(beginCommand(control, isLoaded: true))
    if case .error(let message) = reply, message.hasPrefix("NOSCRIPT") {
      return try RedisLook(
        begin: try await control.ask(beginCommand(control, isLoaded: false)).checked())
    }
    return try RedisLook(begin: try reply.checked())
  }

  func beginCommand(_ control: RedisConnection, isLoaded: Bool) -> RedisCommand {
    var command = RedisCommand(words: 9, bytes: isLoaded ? 256 : 2_048)
    command.append(isLoaded ? "EVALSHA" : "EVAL")
    if isLoaded {
      command.append(digests[RedisScript.begin.rawValue])
    } else {
      command.append(RedisScript.begin.text)
    }
    command.append(3)
    command.append(CacheNames.meta)
    command.append(CacheNames.tags)
    command.append(CacheNames.bans)
    command.append(control.runID)
    command.append(UInt64.random(in: 1...UInt64.max))
    command.append(channel)
    return command
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

  /// Somebody waits for newer knowledge. From any thread.
  func hurry() {
    loop.run { [self] in
      // One for all who wait since then.
      guard let pingTimer, loop.now > lastPing else { return }
      loop.cancel(pingTimer)
      lastUse = loop.now
      tick()
    }
  }

  private func tick() {
    let now = loop.now
    if isUsed.exchange(false, ordering: .relaxed) { lastUse = now }
    ping()
    known.expire(now: MonotonicTime.now)
    let isIdle = now - min(now, lastUse) > Self.idleAfter
    let interval = isIdle ? Self.idleInterval : configuration.limits.pingInterval.milliseconds
    pingTimer = loop.schedule(afterMilliseconds: max(1, interval) - 1) { [weak self] in
      self?.tick()
    }
  }

  private func ping() {
    guard case .following = phase, let listening else { return }
    let sent = MonotonicTime.now
    lastPing = loop.now
    listening.send(RedisCommand("PING")) { [weak self] result in
      // What had become void when this was sent was told ahead of the answer.
      guard let self, case .success = result, case .following = phase else { return }
      known.advance(to: sent)
    }
  }

  private func firstPing(_ listening: RedisConnection) async throws(RedisError) {
    let sent = MonotonicTime.now
    _ = try await listening.ask(RedisCommand("PING")).checked()
    if case .following = phase { known.advance(to: sent) }
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
      RedisCommand("TIME"), RedisCommand("INFO", "memory"), RedisCommand("INFO", "replication"),
      beginCommand(control, isLoaded: true),
    ])
    gauge.takeTime(try replies[0].checked(), sent: sent, received: MonotonicTime.now)
    gauge.takeMemory(try RedisInformation(replies[1]), limits: configuration.limits)
    try RedisInformation(replies[2]).checkRole()
    let look: RedisLook
    if case .error(let message) = replies[3], message.hasPrefix("NOSCRIPT") {
      look = try await begin(control)
    } else {
      look = try RedisLook(begin: try replies[3].checked())
    }
    guard case .following = phase else { return }
    if known.position?.epoch == look.epoch { onLook?(look) } else { renew() }
  }
}
