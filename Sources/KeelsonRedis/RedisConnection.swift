import KeelsonCore
package import KeelsonTransport

/// One connection to Redis, from when it is connected until it is lost. Confined to its loop.
///
/// hiredis reads the replies; the bytes go through our own streams. What is asked in one turn of the
/// loop leaves in one write, and answers come in the order of the questions.
///
/// `@unchecked Sendable`: touched on its loop only, but for ``loop`` and ``runID``, which are immutable
/// once others have it.
@safe package final class RedisConnection: ByteStreamObserver, Loop.Flushable, @unchecked Sendable {
  package typealias Completion = (Result<RedisReply, RedisError>) -> Void

  package let loop: Loop
  private let limits: RedisConfiguration.Limits
  private let reader = RedisReplyReader()
  private var stream: (any ByteStream)?
  private var pending = PendingReplies()
  private var outgoing: [UInt8] = []
  /// How much of it is written.
  private var sentBytes = 0
  private var isFlushing = false
  private var timer: Loop.Timer?
  private var timerDue = UInt64.max
  /// Which Redis process this is: see ``RedisInformation/runID``.
  package internal(set) var runID: UInt64 = 0
  /// Why it is closed; nil while it is open.
  private(set) var failure: RedisError?
  /// Called once when it is lost, not after ``close()``.
  var onLoss: ((RedisError) -> Void)?
  /// Sees each reply first, and takes it by returning true: messages of a subscription.
  var onPush: ((RedisReply) -> Bool)?

  /// More than this is not kept for the next commands.
  private static let keptBytes = 256 * 1024

  init(_ stream: any ByteStream, limits: RedisConfiguration.Limits, on loop: Loop) {
    self.stream = stream
    self.limits = limits
    self.loop = loop
    stream.start(observer: self)
  }

  deinit {
    assert(stream == nil, "a connection is closed on its loop before it goes")
  }

  package var isOpen: Bool { stream != nil }

  // MARK: Asking

  /// Asks, and waits for the answer, from any executor.
  ///
  /// A caller that is cancelled waits on, for at most the timeout: what is sent is sent.
  ///
  /// - Parameter timeout: nil: ``RedisConfiguration/Limits/commandTimeout``.
  /// - Returns: also an error of Redis's own.
  package func ask(
    _ command: RedisCommand, timeout: Duration? = nil
  ) async throws(RedisError) -> RedisReply {
    try await withCheckedContinuation { continuation in
      let isPosted = loop.tryRun { [self] in
        send(command, timeout: timeout) { continuation.resume(returning: $0) }
      }
      if !isPosted { continuation.resume(returning: .failure(RedisError.shuttingDown)) }
    }.get()
  }

  /// Asks several things at once.
  package func ask(
    _ commands: [RedisCommand], timeout: Duration? = nil
  ) async throws(RedisError) -> [RedisReply] {
    guard !commands.isEmpty else { return [] }
    return try await withCheckedContinuation { continuation in
      let isPosted = loop.tryRun { [self] in
        let gathered = Gathered(commands.count) { continuation.resume(returning: $0) }
        for command in commands {
          send(command, timeout: timeout) { gathered.add($0) }
        }
      }
      if !isPosted { continuation.resume(returning: .failure(RedisError.shuttingDown)) }
    }.get()
  }

  /// Puts the answers to several commands together; the first failure is that of all.
  private final class Gathered {
    private var missing: Int
    private var replies: [RedisReply] = []
    private var failure: RedisError?
    private let completion: (Result<[RedisReply], RedisError>) -> Void

    init(_ count: Int, completion: @escaping (Result<[RedisReply], RedisError>) -> Void) {
      missing = count
      replies.reserveCapacity(count)
      self.completion = completion
    }

    func add(_ result: Result<RedisReply, RedisError>) {
      switch result {
      case .success(let reply): replies.append(reply)
      case .failure(let error): failure = failure ?? error
      }
      missing -= 1
      if missing == 0 { completion(failure.map { .failure($0) } ?? .success(replies)) }
    }
  }

  /// Asks. On the loop's thread only.
  ///
  /// - Parameter completion: called once, on the loop; at once when it cannot be sent.
  package func send(
    _ command: RedisCommand, timeout: Duration? = nil, _ completion: @escaping Completion
  ) {
    guard stream != nil else { return completion(.failure(failure ?? RedisError.shuttingDown)) }
    guard pending.count < limits.queuedCommands else {
      return completion(
        .failure(
          RedisError(
            .overloaded,
            "\(limits.queuedCommands) commands wait for Redis on one connection already "
              + "(redis-queued-commands).")))
    }
    guard outgoing.count - sentBytes + command.bytes.count <= limits.queuedBytes else {
      return completion(
        .failure(
          RedisError(
            .overloaded,
            "\(limits.queuedBytes) bytes wait to be sent to Redis on one connection already "
              + "(redis-queued-bytes).")))
    }
    outgoing.append(contentsOf: command.bytes)
    let now = loop.now
    let due = now + (timeout ?? limits.commandTimeout).wholeMilliseconds
    pending.append(now: now, due: due, completion)
    if due < timerDue { startTimer(due: due, now: now) }
    scheduleFlush()
  }

  // MARK: Bytes

  private func scheduleFlush() {
    guard !isFlushing else { return }
    isFlushing = true
    loop.flushAtEndOfTurn(self)
  }

  package func flush() {
    isFlushing = false
    // A stream that awaits room says when there is some.
    guard let stream, !stream.isAwaitingRoom else { return }
    write(to: stream)
  }

  private func write(to stream: any ByteStream) {
    while sentBytes < outgoing.count {
      let result = unsafe outgoing.withUnsafeBytes { bytes in
        unsafe stream.write(UnsafeRawBufferPointer(rebasing: bytes[sentBytes...]))
      }
      switch result {
      case .bytes(let count): sentBytes += count
      case .wouldBlock:
        stream.isAwaitingRoom = true
        return
      case .ended: return lose("Redis has closed the connection")
      case .failed(let error): return lose(error.message)
      }
    }
    outgoing.removeAll(keepingCapacity: outgoing.capacity <= Self.keptBytes)
    sentBytes = 0
    if stream.isAwaitingRoom { stream.isAwaitingRoom = false }
  }

  package func byteStreamIsWritable() {
    withExtendedLifetime(self) {
      guard let stream else { return }
      write(to: stream)
    }
  }

  package func byteStreamIsReadable() {
    // What is called here may let go of the last reference to this connection.
    withExtendedLifetime(self) {
      while let stream {
        let room = unsafe loop.receiveScratch
        switch unsafe stream.read(into: room) {
        case .bytes(let count):
          let bytes = unsafe UnsafeRawBufferPointer(rebasing: room[..<count])
          do throws(RedisError) {
            try unsafe reader.read(bytes) { take($0) }
          } catch {
            return lose(error.message)
          }
          // A read that filled the room may have left something.
          if count < room.count { return }
        case .wouldBlock: return
        case .ended: return lose("Redis has closed the connection")
        case .failed(let error): return lose(error.message)
        }
      }
    }
  }

  private func take(_ reply: RedisReply) {
    guard stream != nil else { return }
    if let onPush, onPush(reply) { return }
    let wasAsked = pending.takeFirst { completion in completion?(.success(reply)) }
    if !wasAsked {
      // Redis says why it lets go of a client: too many of them, for example.
      if case .error(let message) = reply { return lose("Redis has answered: \(message)") }
      lose("Redis has answered what nobody asked")
    }
  }

  // MARK: Time

  private func startTimer(due: UInt64, now: UInt64) {
    if let timer { loop.cancel(timer) }
    timerDue = due
    timer = loop.schedule(afterMilliseconds: due - min(due, now)) { [weak self] in
      self?.timer = nil
      self?.timerDue = .max
      self?.checkTimes()
    }
  }

  private func checkTimes() {
    let now = loop.now
    let stall = limits.stallTimeout.wholeMilliseconds
    if let age = pending.oldestAge(now: now), age >= stall {
      return lose("Redis has not answered for \(limits.stallTimeout)")
    }
    for completion in pending.takeLate(now: now) {
      completion(
        .failure(
          RedisError(
            .timedOut, "Redis did not answer within \(limits.commandTimeout) (redis-timeout)."
          )))
    }
    // While a place is empty the answer is still owed.
    guard stream != nil, let age = pending.oldestAge(now: now) else { return }
    let due = min(pending.earliestDue, now + (stall - min(stall, age)))
    if due < timerDue { startTimer(due: due, now: now) }
  }

  // MARK: Ending

  private func lose(_ reason: String) {
    guard stream != nil else { return }
    var reason = reason
    while reason.last == "." { reason.removeLast() }
    end(RedisError(.unreachable, "The connection to Redis was lost: \(reason)."))
  }

  /// Closes it and fails whoever waits. On the loop's thread only. Calling it again does nothing.
  package func close() {
    onLoss = nil
    end(RedisError.shuttingDown)
  }

  /// Gives it up as if it were lost. On the loop's thread only.
  func close(because error: RedisError) {
    end(error)
  }

  private func end(_ error: RedisError) {
    guard let stream else { return }
    self.stream = nil
    failure = error
    // What was not sent yet is of no use to anybody.
    stream.abort()
    if let timer { loop.cancel(timer) }
    timer = nil
    outgoing = []
    sentBytes = 0
    onPush = nil
    let onLoss = onLoss
    self.onLoss = nil
    for completion in pending.takeAll() { completion(.failure(error)) }
    onLoss?(error)
  }
}
