import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// The one loading of a key that is under way in this process, and who waits for it.
///
/// Callers come and go: when one's task is cancelled, the others still get what is loaded; when all
/// are gone, loading is cancelled, unless it has become a background one, which goes on until its
/// lease ends.
///
/// Lock order: under its lock nothing is called; what is taken out of it is resumed and cancelled
/// after. See ``CacheCore``.
final class CacheFlight<Output: Sendable>: AnyCacheFlight {
  typealias Instant = CacheInstant

  /// What a caller gets.
  struct Given: Sendable {
    var output: Output
    /// That its time is over: it stands in for one that could not be loaded, or not in time.
    var isStale = false
  }

  /// A value that is there already: a stale one, or a fresh one that is loaded anew.
  struct Interim: Sendable {
    var output: Output
    var provenance: CacheProvenance
    var freshUntil: Instant
    /// Until when it is good enough.
    var until: Instant

    var given: Given { Given(output: output, isStale: Instant.now >= freshUntil) }
  }

  /// What is under way, and may be shared for a time.
  struct Load: Sendable {
    /// What is known of that which comes of it.
    var provenance: CacheProvenance
    /// By then it should have ended: who comes later does not wait with those that hang.
    var until: Instant
  }

  private struct Caller {
    var entered: Instant
    /// nil: does not wait yet.
    var continuation: CheckedContinuation<Given?, any Error>?
  }

  private struct State {
    var callers: [UInt64: Caller] = [:]
    var lastCaller: UInt64 = 0
    var result: Result<Output, any Error>?
    var interim: Interim?
    /// How often callers were given the interim value; those who come later get it, too.
    var timesGiven = 0
    /// Goes on without callers.
    var isBackground = false
    /// What is loaded now is for those who wait, and for nobody else.
    var hasLeaseEnded = false
    var isAbandoned = false
    var load: Load?
    var tasks: [Task<Void, Never>] = []

    /// Those who wait, if they are to go.
    mutating func takeWaiting(_ isToGo: (Caller) -> Bool = { _ in true }) -> [Caller] {
      let waiting = callers.filter { $0.value.continuation != nil && isToGo($0.value) }
      for caller in waiting.keys { callers[caller] = nil }
      return Array(waiting.values)
    }

    /// Gives it up if nobody wants it any more.
    mutating func abandonIfUnwanted() -> [Task<Void, Never>] {
      guard callers.isEmpty, !isBackground, result == nil else { return [] }
      isAbandoned = true
      defer { tasks = [] }
      return tasks
    }
  }

  let key: String
  let tags: [String]
  let began = Instant.now
  private let near: NearCache
  private let state: Mutex<State>

  /// - Parameter isBackground: whether it goes on without callers.
  init(_ key: String, tags: [String], near: NearCache, isBackground: Bool) {
    self.key = key
    self.tags = tags
    self.near = near
    state = Mutex(State(isBackground: isBackground))
  }

  // MARK: Callers

  var callerCount: Int { state.withLock { $0.callers.count } }

  /// Whether a caller that comes now may share it: it has not ended, and what comes of it is as new as
  /// what the caller would get by itself, as far as that is known.
  var isOpen: Bool {
    let (isOver, load, interim) = state.withLock { state in
      (state.result != nil || state.isAbandoned, state.load, state.interim)
    }
    guard !isOver else { return false }
    guard let load else { return true }
    let now = Instant.now
    guard now < load.until, near.judge(key, load.provenance) == .current else { return false }
    // Who could not have the value that is there gets a newer one by asking for it.
    guard let interim, near.judge(key, interim.provenance) == .late else { return true }
    return interim.provenance.asOf.duration(to: now) < near.limit
  }

  /// Takes part from now on: ``value(for:)`` has to follow.
  ///
  /// - Returns: nil when it is over.
  func enter() -> UInt64? {
    state.withLock { state in
      guard state.result == nil, !state.isAbandoned else { return nil }
      state.lastCaller += 1
      state.callers[state.lastCaller] = Caller(entered: .now)
      return state.lastCaller
    }
  }

  /// Waits for what is loaded, or for a value that will do.
  ///
  /// - Throws: what the loader has thrown; `CancellationError` when the caller's task is cancelled.
  func value(for caller: UInt64) async throws -> Given {
    while true {
      let (interim, timesGiven, entered) = state.withLock { state in
        (
          state.timesGiven > 0 ? state.interim : nil, state.timesGiven,
          state.callers[caller]?.entered
        )
      }
      if let interim, let entered, takers(of: interim)(entered) {
        leave(caller)
        return interim.given
      }
      if let given = try await wait(caller, whileGiven: timesGiven) { return given }
    }
  }

  /// - Returns: nil when an interim value was given since the caller has looked for one.
  private func wait(_ caller: UInt64, whileGiven timesGiven: Int) async throws -> Given? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Given?, any Error>? in
          guard state.timesGiven == timesGiven else { return .success(nil) }
          if let result = state.result {
            state.callers[caller] = nil
            return result.map { Given(output: $0) }
          }
          // It was cancelled before it waited: it has left.
          guard state.callers[caller] != nil else { return .failure(CancellationError()) }
          state.callers[caller]?.continuation = continuation
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      leave(caller)
    }
  }

  private func leave(_ caller: UInt64) {
    let (continuation, tasks) = state.withLock { state in
      let entry = state.callers.removeValue(forKey: caller)
      return (entry?.continuation, state.abandonIfUnwanted())
    }
    continuation?.resume(throwing: CancellationError())
    for task in tasks { task.cancel() }
  }

  /// Which callers, by when they came, may get a value now: all, if it is current; else those who came
  /// when it was, unless it is known to be void by now.
  private func takers(of interim: Interim) -> (_ entered: Instant) -> Bool {
    guard Instant.now < interim.until else { return { _ in false } }
    let provenance = interim.provenance
    return switch near.judge(key, provenance) {
    case .current: { _ in true }
    case .late: { [limit = near.limit] in provenance.asOf.duration(to: $0) < limit }
    case .overtaken, .void: { _ in false }
    }
  }

  // MARK: Loading

  /// Attaches work that is cancelled with it.
  func attach(_ task: Task<Void, Never>) {
    let isOver = state.withLock { state in
      if !state.isAbandoned { state.tasks.append(task) }
      return state.isAbandoned
    }
    if isOver { task.cancel() }
  }

  /// Says what is under way.
  ///
  /// - Parameter load: nil: a wait for what another loads. What that brings is said when it comes, so
  ///   anybody may share the wait.
  func begins(_ load: Load?) {
    state.withLock { $0.load = load }
  }

  /// There is a value that will do if loading takes too long or fails.
  func offer(_ interim: Interim) {
    state.withLock { $0.interim = interim }
  }

  /// Callers get the value that was offered, if it is good for them; loading goes on without them
  /// while its lease stands.
  func giveInterim() {
    guard let interim = state.withLock({ $0.interim }) else { return }
    let isTaker = takers(of: interim)
    let (waiting, tasks) = state.withLock { state -> ([Caller], [Task<Void, Never>]) in
      guard state.result == nil else { return ([], []) }
      state.timesGiven += 1
      if !state.hasLeaseEnded { state.isBackground = true }
      let waiting = state.takeWaiting { isTaker($0.entered) }
      return (waiting, state.abandonIfUnwanted())
    }
    for caller in waiting { caller.continuation?.resume(returning: interim.given) }
    for task in tasks { task.cancel() }
  }

  /// The lease has ended: what is loaded now is for those who wait, and for nobody else.
  func leaseEnded() {
    let tasks = state.withLock { state in
      state.hasLeaseEnded = true
      state.isBackground = false
      return state.abandonIfUnwanted()
    }
    for task in tasks { task.cancel() }
  }

  /// It has ended; only the first time counts.
  func finish(_ result: Result<Output, any Error>) {
    let waiting = state.withLock { state -> [Caller] in
      guard state.result == nil else { return [] }
      state.result = result
      return state.takeWaiting()
    }
    for caller in waiting {
      caller.continuation?.resume(with: result.map { Given(output: $0) })
    }
  }

  /// Loading has failed: callers get the value that was offered, if it is good for them, else the
  /// error.
  func fail(_ error: any Error) {
    giveInterim()
    finish(.failure(error))
  }

  /// Ends what is attached to it.
  func cancelTasks() {
    let tasks = state.withLock { state in
      defer { state.tasks = [] }
      return state.tasks
    }
    for task in tasks { task.cancel() }
  }
}

/// A flight of whatever type.
protocol AnyCacheFlight: AnyObject, Sendable {
  var callerCount: Int { get }
  var isOpen: Bool { get }
}

/// The flights of a process: for a key and a type of value, the one that callers who come may share.
///
/// Lock order: flights are asked whether they are open under its lock. See ``CacheCore``.
final class CacheFlights: Sendable {
  private typealias Flights = [BytewiseKey: [ObjectIdentifier: any AnyCacheFlight]]

  private let flights = Mutex(Flights())

  var count: Int { flights.withLock { $0.values.reduce(0) { $0 + $1.count } } }
  /// Callers of all of them.
  var callerCount: Int {
    flights.withLock { $0.values.joined().reduce(0) { $0 + $1.value.callerCount } }
  }

  /// Takes part in the flight of a key, or in a new one.
  ///
  /// - Returns: the caller's number in it, and whether it is new and has to be started.
  func join<Output>(
    _ key: String, make: () -> CacheFlight<Output>
  ) -> (flight: CacheFlight<Output>, caller: UInt64, isNew: Bool) {
    let (key, type) = (BytewiseKey(key), ObjectIdentifier(Output.self))
    while true {
      if let flight = flights.withLock({ $0[key]?[type] }) as? CacheFlight<Output>,
        flight.isOpen, let caller = flight.enter()
      {
        return (flight, caller, false)
      }
      let new = make()
      guard let caller = new.enter() else { continue }
      let isNew = flights.withLock { flights in
        if flights[key]?[type]?.isOpen == true { return false }
        flights[key, default: [:]][type] = new
        return true
      }
      if isNew { return (new, caller, true) }
    }
  }

  /// Begins a flight without callers; nil when there is one that they could share.
  func begin<Output>(
    _ key: String, make: () -> CacheFlight<Output>
  ) -> CacheFlight<Output>? {
    let (key, type) = (BytewiseKey(key), ObjectIdentifier(Output.self))
    let new = make()
    return flights.withLock { flights in
      guard flights[key]?[type]?.isOpen != true else { return nil }
      flights[key, default: [:]][type] = new
      return new
    }
  }

  func remove<Output>(_ flight: CacheFlight<Output>) {
    let (key, type) = (BytewiseKey(flight.key), ObjectIdentifier(Output.self))
    flights.withLock { flights in
      guard flights[key]?[type] === flight else { return }
      flights[key]?[type] = nil
      if flights[key]?.isEmpty == true { flights[key] = nil }
    }
  }

  /// Nobody joins the flights of these keys any more; who takes part in one does so to its end.
  func close(_ keys: [String]) {
    flights.withLock { flights in
      for key in keys { flights[BytewiseKey(key)] = nil }
    }
  }

  func closeAll() {
    flights.withLock { $0 = [:] }
  }
}
