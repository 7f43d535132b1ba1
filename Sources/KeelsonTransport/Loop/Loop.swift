import CLibUV
import KeelsonCore
import Synchronization

/// One thread that waits for sockets and timers, and runs tasks: the executor of everything that
/// lives on it.
///
/// A loop is a `TaskExecutor` only: `Task(executorPreference: loop)` runs its `nonisolated` async
/// functions on the loop's thread without a hop. What is *confined* to a loop (connections,
/// streams, timers) is touched on its thread only; from elsewhere go through ``execute(_:)``.
///
/// A turn of the loop is: socket and timer events, then tasks and mailbox until none are ready,
/// then each connection that has something to say writes once (``flushAtEndOfTurn(_:)``).
///
/// `@unchecked Sendable`: `mailbox` is guarded by its Mutex; everything else is confined to the
/// loop's thread after ``start()``.
@safe package final class Loop: TaskExecutor, @unchecked Sendable {
  /// What writes once at the end of a turn.
  package protocol Flushable: AnyObject {
    /// Called on the loop's thread, once per ``Loop/flushAtEndOfTurn(_:)``.
    func flush()
  }

  private enum Mail {
    case job(UnownedJob)
    case action(@Sendable () -> Void)
  }

  private struct Mailbox {
    var mail: [Mail] = []
    var isOpen = true
  }

  /// How many rounds of tasks run before sockets get their turn again, so that tasks that keep
  /// making one another ready do not starve them.
  private static let roundsPerTurn = 16

  let uvLoop: UnsafeMutablePointer<uv_loop_t>
  private let wakeup: UnsafeMutablePointer<uv_async_t>
  private let endOfTurn: UnsafeMutablePointer<uv_prepare_t>
  private let timerHandle: UnsafeMutablePointer<uv_timer_t>
  private let keepTurning: UnsafeMutablePointer<uv_idle_t>

  private let mailbox = Mutex(Mailbox())
  /// Threads that are about to wake the loop: it stays until they have.
  private let wakers = Atomic<Int>(0)
  private let threadID = Atomic<UInt>(0)
  private let ended = Ended()

  // Confined to the loop's thread.
  @safe @exclusivity(unchecked) private var readyJobs: [UnownedJob] = []
  @safe @exclusivity(unchecked) private var runningJobs: [UnownedJob] = []
  @safe @exclusivity(unchecked) private var incomingMail: [Mail] = []
  @safe @exclusivity(unchecked) private var toFlush: [any Flushable] = []
  @safe @exclusivity(unchecked) private var flushing: [any Flushable] = []
  private var timers = TimerHeap<() -> Void>()
  private var armedFor: UInt64?
  private var isStopping = false
  private var isKeptTurning = false
  /// Called when the loop stops, so that what lives on it closes: see ``onStop(_:)``.
  private var stopActions: [() -> Void] = []

  /// Shared by all connections of this loop, one at a time, to gather what one write sends.
  let sendScratch = SendBuffer()
  /// Shared by all sockets of this loop, one at a time, to read into.
  package let receiveScratch: UnsafeMutableRawBufferPointer
  /// The same for ciphertext: what sockets give to TLS.
  let tlsInput: UnsafeMutableRawBufferPointer
  /// The same for ciphertext: what TLS makes of one write.
  let tlsOutput = SendBuffer()
  /// Header lists whose memory is to be used again; shared by all connections of this loop.
  @safe @exclusivity(unchecked) var spareFields = SpareFields()
  /// Streams whose memory is to be used again; shared by all server connections of this loop.
  @safe @exclusivity(unchecked) var spareStreams = SpareStreams()
  /// Where nghttp2's sessions of this loop have their memory from.
  let sessionMemory = SessionMemory()
  /// Deflates and inflates the messages of this loop's calls.
  let compression = MessageCompression()
  /// Bytes that wait to be sent on all streams of this loop's connections.
  @safe @exclusivity(unchecked) var queuedBytes = 0
  /// Random bits for what need not be secret; one per loop, so that it needs no lock.
  @safe @exclusivity(unchecked) var random = FastRandom()

  /// A loop that does not turn yet.
  package init() {
    unsafe uvLoop = .allocate(capacity: 1)
    unsafe wakeup = .allocate(capacity: 1)
    unsafe endOfTurn = .allocate(capacity: 1)
    unsafe timerHandle = .allocate(capacity: 1)
    unsafe keepTurning = .allocate(capacity: 1)
    unsafe receiveScratch = .allocate(byteCount: 128 * 1024, alignment: 16)
    unsafe tlsInput = .allocate(byteCount: 128 * 1024, alignment: 16)
    let status = unsafe uv_loop_init(uvLoop)
    precondition(
      status == 0,
      "The operating system gave no event loop: \(uvMessage(status)). Raise the limit of open files."
    )
    let me = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe wakeup.pointee.data = unsafe me
    unsafe endOfTurn.pointee.data = unsafe me
    unsafe timerHandle.pointee.data = unsafe me
    unsafe keepTurning.pointee.data = unsafe me
    let wakeupStatus = unsafe uv_async_init(uvLoop, wakeup) { handle in
      // Nothing to do: waking up is enough, the mailbox is read at the end of the turn.
    }
    precondition(wakeupStatus == 0, "No wake-up handle: \(uvMessage(wakeupStatus)).")
    _ = unsafe uv_prepare_init(uvLoop, endOfTurn)
    _ = unsafe uv_timer_init(uvLoop, timerHandle)
    _ = unsafe uv_idle_init(uvLoop, keepTurning)
    _ = unsafe uv_prepare_start(endOfTurn) { handle in
      guard let handle = unsafe handle else { return }
      unsafe Unmanaged<Loop>.fromOpaque(handle.pointee.data).takeUnretainedValue().finishTurn()
    }
  }

  deinit {
    unsafe uvLoop.deallocate()
    unsafe wakeup.deallocate()
    unsafe endOfTurn.deallocate()
    unsafe timerHandle.deallocate()
    unsafe keepTurning.deallocate()
    unsafe receiveScratch.deallocate()
    unsafe tlsInput.deallocate()
  }

  /// Starts the loop's thread; call it once.
  package func start(name: String = "keelson-loop") {
    var thread = uv_thread_t()
    // The thread owns one reference to the loop until it ends.
    let me = unsafe Unmanaged.passRetained(self).toOpaque()
    var options = uv_thread_options_t(
      flags: UV_THREAD_HAS_STACK_SIZE.rawValue, stack_size: 1 << 20)
    let status = unsafe uv_thread_create_ex(
      &thread, &options,
      { argument in
        guard let argument = unsafe argument else { return }
        unsafe Unmanaged<Loop>.fromOpaque(argument).takeRetainedValue().run()
      }, me)
    precondition(status == 0, "No thread for an event loop: \(uvMessage(status)).")
    pthread_detach(thread)
  }

  /// Whether the caller runs on this loop's thread.
  package var isCurrent: Bool {
    threadID.load(ordering: .relaxed) == UInt(pthread_self())
  }

  /// Whether the loop's thread has ended; what is posted from now on does not run there.
  var hasEnded: Bool { !mailbox.withLock { $0.isOpen } }

  /// Milliseconds of a monotonic clock, as of the start of this turn. On the loop's thread only.
  package var now: UInt64 { unsafe uv_now(uvLoop) }

  // MARK: Work

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent {
      readyJobs.append(job)
    } else {
      post(.job(job))
    }
  }

  /// Runs an action on the loop's thread: at the end of this turn at the latest when called
  /// there, soon otherwise. After the loop has ended the action is dropped.
  package func execute(_ action: @escaping @Sendable () -> Void) {
    post(.action(action))
  }

  /// Runs an action on the loop's thread, at once if the caller is on it already.
  package func run(_ action: @escaping @Sendable () -> Void) {
    if isCurrent { action() } else { post(.action(action)) }
  }

  /// Like ``run(_:)``; false when the loop has ended and the action will not run.
  package func tryRun(_ action: @escaping @Sendable () -> Void) -> Bool {
    if isCurrent {
      action()
      return true
    }
    return post(.action(action))
  }

  @discardableResult
  private func post(_ mail: Mail) -> Bool {
    let (isLate, mustWake) = mailbox.withLock { box in
      guard box.isOpen else { return (true, false) }
      box.mail.append(mail)
      let mustWake = box.mail.count == 1 && !isCurrent
      if mustWake { wakers.wrappingAdd(1, ordering: .relaxed) }
      return (false, mustWake)
    }
    if mustWake {
      // Not under the lock: it is a system call, and others would spin for as long.
      _ = unsafe uv_async_send(wakeup)
      wakers.wrappingSubtract(1, ordering: .releasing)
    }
    if isLate, case .job(let job) = mail {
      // The loop has ended: a task that outlives it still has to end, so it runs here.
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    }
    return !isLate
  }

  /// Has `target.flush()` called once when this turn's work is done. On the loop's thread only.
  package func flushAtEndOfTurn(_ target: any Flushable) {
    toFlush.append(target)
  }

  /// Calls an action on the loop's thread when the loop is told to stop, before it ends. On the
  /// loop's thread only. A loop that stops already calls it at once.
  package func onStop(_ action: @escaping () -> Void) {
    if isStopping { action() } else { stopActions.append(action) }
  }

  private func finishTurn() {
    var rounds = 0
    while rounds < Self.roundsPerTurn {
      rounds += 1
      let hadMail = readMail()
      if readyJobs.isEmpty {
        if toFlush.isEmpty {
          // What was in the mail may have posted more, which wakes nobody.
          if hadMail { continue }
          break
        }
        swap(&toFlush, &flushing)
        for target in flushing { target.flush() }
        flushing.removeAll(keepingCapacity: true)
      } else {
        swap(&readyJobs, &runningJobs)
        for job in runningJobs { unsafe job.runSynchronously(on: asUnownedTaskExecutor()) }
        runningJobs.removeAll(keepingCapacity: true)
      }
    }
    setKeepTurning(rounds == Self.roundsPerTurn)
    armTimer()
  }

  /// Runs the mail's actions and takes in its jobs; false when there was none.
  private func readMail() -> Bool {
    mailbox.withLock { box in
      if !box.mail.isEmpty { swap(&box.mail, &incomingMail) }
    }
    guard !incomingMail.isEmpty else { return false }
    for mail in incomingMail {
      switch mail {
      case .job(let job): readyJobs.append(job)
      case .action(let action): action()
      }
    }
    incomingMail.removeAll(keepingCapacity: true)
    return true
  }

  private func setKeepTurning(_ keep: Bool) {
    guard keep != isKeptTurning else { return }
    isKeptTurning = keep
    if keep {
      _ = unsafe uv_idle_start(keepTurning) { _ in }
    } else {
      _ = unsafe uv_idle_stop(keepTurning)
    }
  }

  // MARK: Timers

  /// A timer that has not fired; good for ``Loop/cancel(_:)``.
  package struct Timer: Hashable, Sendable {
    fileprivate let id: TimerHeap<() -> Void>.ID
  }

  /// Calls an action once, no earlier than this many milliseconds from now. On the loop's thread
  /// only. The action is kept until it has run or was cancelled.
  package func schedule(afterMilliseconds delay: UInt64, _ action: @escaping () -> Void) -> Timer {
    // uv_now is the start of the turn: one millisecond more keeps a timer from being early.
    let (due, overflows) = now.addingReportingOverflow(delay &+ 1)
    return Timer(id: timers.add(due: overflows ? .max : due, action))
  }

  /// Calls an action once, no earlier than `delay` from now. On the loop's thread only.
  package func schedule(after delay: Duration, _ action: @escaping () -> Void) -> Timer {
    schedule(afterMilliseconds: delay.wholeMilliseconds, action)
  }

  /// Takes a timer back; nothing happens if it has fired. On the loop's thread only.
  package func cancel(_ timer: Timer) {
    timers.cancel(timer.id)
  }

  /// Sets the one timer of libuv to the earliest of ours. A cancelled one is left to wake the
  /// loop for nothing once: cheaper than setting it anew for each call.
  private func armTimer() {
    guard let earliest = timers.earliest else { return }
    if let armedFor, armedFor <= earliest { return }
    armedFor = earliest
    let current = now
    let delay = earliest > current ? earliest - current : 0
    _ = unsafe uv_timer_start(
      timerHandle,
      { handle in
        guard let handle = unsafe handle else { return }
        unsafe Unmanaged<Loop>.fromOpaque(handle.pointee.data).takeUnretainedValue().fireTimers()
      }, delay, 0)
  }

  private func fireTimers() {
    armedFor = nil
    let current = now
    while let action = timers.popDue(by: current) { action() }
  }

  // MARK: Life

  private func run() {
    threadID.store(UInt(pthread_self()), ordering: .sequentiallyConsistent)
    _ = unsafe uv_run(uvLoop, UV_RUN_DEFAULT)
    // Every handle is closed. Late mail still runs, so that no task hangs for ever.
    while true {
      let late = mailbox.withLock { box in
        let mail = box.mail
        box.mail = []
        if mail.isEmpty { box.isOpen = false }
        return mail
      }
      let jobs = readyJobs
      readyJobs = []
      if late.isEmpty, jobs.isEmpty { break }
      for job in jobs { unsafe job.runSynchronously(on: asUnownedTaskExecutor()) }
      for mail in late {
        switch mail {
        case .job(let job): unsafe job.runSynchronously(on: asUnownedTaskExecutor())
        case .action(let action): action()
        }
      }
    }
    timers.removeAll()
    // The mailbox is closed, so there are no more of them to come.
    while wakers.load(ordering: .acquiring) > 0 { sched_yield() }
    let status = unsafe uv_loop_close(uvLoop)
    assert(status == 0, "The loop still has handles: \(uvMessage(status)).")
    threadID.store(0, ordering: .sequentiallyConsistent)
    ended.signal()
  }

  /// Closes all that lives on the loop, ends its thread, and returns when it has ended. Never
  /// call it on a loop.
  package func stop() async {
    execute { [self] in beginStop() }
    await ended.wait()
  }

  private func beginStop() {
    guard !isStopping else { return }
    isStopping = true
    let actions = stopActions
    stopActions = []
    for action in actions { action() }
    // One more turn, so that what the stop actions made ready runs and writes.
    let closeHandles: @Sendable () -> Void = { [self] in
      unsafe uv_close(
        UnsafeMutableRawPointer(wakeup).assumingMemoryBound(to: uv_handle_t.self), nil)
      unsafe uv_close(
        UnsafeMutableRawPointer(endOfTurn).assumingMemoryBound(to: uv_handle_t.self), nil)
      unsafe uv_close(
        UnsafeMutableRawPointer(timerHandle).assumingMemoryBound(to: uv_handle_t.self), nil)
      unsafe uv_close(
        UnsafeMutableRawPointer(keepTurning).assumingMemoryBound(to: uv_handle_t.self), nil)
    }
    _ = schedule(afterMilliseconds: 0, closeHandles)
  }
}

/// What libuv says about an error code.
func uvMessage(_ status: Int32) -> String {
  guard let text = unsafe uv_strerror(status) else { return "error \(status)" }
  return unsafe String(cString: text)
}
