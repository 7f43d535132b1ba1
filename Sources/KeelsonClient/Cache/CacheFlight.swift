import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// The one loading of a key that is under way in this process, and who waits for it.
///
/// Callers come and go: when one's task is cancelled, the others still get what is loaded; when all
/// are gone, loading is cancelled, unless it has become a background one, which goes on until its
/// lease ends.
///
/// Lock order: nothing is called while its lock is held, but for the continuations and tasks taken
/// out of it.
final class CacheFlight<Output: Sendable>: AnyCacheFlight {
  typealias Instant = CacheInstant

  /// A value that is there already: a stale one, or a fresh one that is loaded anew.
  struct Interim: Sendable {
    var output: Output
    var position: CachePosition
    var tags: [String]
    /// When it was asked for.
    var asOf: Instant
    /// Until when it is good enough.
    var until: Instant
  }

  private struct State {
    /// Those who take part; nil: does not wait yet.
    var callers: [UInt64: CheckedContinuation<Output, any Error>?] = [:]
    var lastCaller: UInt64 = 0
    var result: Result<Output, any Error>?
    var interim: Interim?
    /// Callers get the interim value.
    var givesInterim = false
    /// Goes on without callers.
    var isBackground = false
    var isAbandoned = false
    var position: CachePosition?
    var tasks: [Task<Void, Never>] = []

    mutating func takeWaiting() -> [CheckedContinuation<Output, any Error>] {
      let waiting = callers.values.compactMap(\.self)
      callers = callers.filter { $0.value == nil }
      return waiting
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

  /// Whether a caller that comes now may share it: it has not ended, and what it loads is not known
  /// to be void already.
  var isOpen: Bool {
    let (isOver, position) = state.withLock { state in
      (state.result != nil || state.isAbandoned, state.position)
    }
    guard !isOver else { return false }
    return position.map { !near.isKnownVoid(key, $0, tags: tags) } ?? true
  }

  /// Takes part from now on: ``value(for:)`` has to follow.
  ///
  /// - Returns: nil when it is over.
  func enter() -> UInt64? {
    state.withLock { state in
      guard state.result == nil, !state.isAbandoned else { return nil }
      state.lastCaller += 1
      state.callers[state.lastCaller] = .some(nil)
      return state.lastCaller
    }
  }

  /// Waits for what is loaded, or for a value that will do.
  ///
  /// - Throws: what the loader has thrown; `CancellationError` when the caller's task is cancelled.
  func value(for caller: UInt64) async throws -> Output {
    let interim = state.withLock { $0.givesInterim ? $0.interim : nil }
    if let interim, isGood(interim) {
      leave(caller)
      return interim.output
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Output, any Error>? in
          if let result = state.result {
            state.callers[caller] = nil
            return result
          }
          // It was cancelled before it waited: it has left.
          guard state.callers[caller] != nil else { return .failure(CancellationError()) }
          state.callers[caller] = .some(continuation)
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
      return (entry.flatMap(\.self), state.abandonIfUnwanted())
    }
    continuation?.resume(throwing: CancellationError())
    for task in tasks { task.cancel() }
  }

  private func isGood(_ interim: Interim) -> Bool {
    Instant.now < interim.until
      && near.isGood(key, interim.position, tags: interim.tags, asOf: interim.asOf)
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

  /// As of when what is loaded is current.
  func loads(asOf position: CachePosition?) {
    state.withLock { $0.position = position }
  }

  /// There is a value that will do if loading takes too long or fails.
  func offer(_ interim: Interim) {
    state.withLock { $0.interim = interim }
  }

  /// Callers get the value that was offered; loading goes on without them.
  ///
  /// - Returns: false when there is none that is still good.
  @discardableResult
  func giveInterim() -> Bool {
    guard let interim = state.withLock({ $0.interim }), isGood(interim) else { return false }
    let waiting = state.withLock { state in
      guard state.result == nil else { return [CheckedContinuation<Output, any Error>]() }
      state.givesInterim = true
      state.isBackground = true
      return state.takeWaiting()
    }
    for caller in waiting { caller.resume(returning: interim.output) }
    return true
  }

  /// The lease has ended: what is loaded now is for those who wait, and for nobody else.
  func leaseEnded() {
    let tasks = state.withLock { state in
      state.isBackground = false
      return state.abandonIfUnwanted()
    }
    for task in tasks { task.cancel() }
  }

  /// It has ended; only the first time counts.
  func finish(_ result: Result<Output, any Error>) {
    let waiting = state.withLock { state in
      guard state.result == nil else { return [CheckedContinuation<Output, any Error>]() }
      state.result = result
      return state.takeWaiting()
    }
    for caller in waiting { caller.resume(with: result) }
  }

  /// Loading has failed: the value that was offered, if it is still good, else the error.
  ///
  /// - Returns: whether callers got the value.
  @discardableResult
  func fail(_ error: any Error) -> Bool {
    if let interim = state.withLock({ $0.interim }), isGood(interim) {
      finish(.success(interim.output))
      return true
    }
    finish(.failure(error))
    return false
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
}

/// The flights of a process: at most one for a key and a type of value that callers may share.
final class CacheFlights: Sendable {
  private struct Key: Hashable {
    var key: String
    var type: ObjectIdentifier
  }

  private let flights = Mutex<[Key: any AnyCacheFlight]>([:])

  var count: Int { flights.withLock { $0.count } }
  /// Callers of all of them.
  var callerCount: Int { flights.withLock { $0.values.reduce(0) { $0 + $1.callerCount } } }

  /// Takes part in the flight of a key, or in a new one.
  ///
  /// - Returns: the caller's number in it, and whether it is new and has to be started.
  func join<Output>(
    _ key: String, make: () -> CacheFlight<Output>
  ) -> (flight: CacheFlight<Output>, caller: UInt64, isNew: Bool) {
    let id = Key(key: key, type: ObjectIdentifier(Output.self))
    while true {
      if let flight = flights.withLock({ $0[id] }) as? CacheFlight<Output>, flight.isOpen,
        let caller = flight.enter()
      {
        return (flight, caller, false)
      }
      let new = make()
      guard let caller = new.enter() else { continue }
      let isNew = flights.withLock { flights in
        if let other = flights[id] as? CacheFlight<Output>, other.isOpen { return false }
        flights[id] = new
        return true
      }
      if isNew { return (new, caller, true) }
    }
  }

  /// Begins a flight without callers; nil when there is one already.
  func begin<Output>(
    _ key: String, make: () -> CacheFlight<Output>
  ) -> CacheFlight<Output>? {
    let id = Key(key: key, type: ObjectIdentifier(Output.self))
    let new = make()
    return flights.withLock { flights in
      guard flights[id] == nil else { return nil }
      flights[id] = new
      return new
    }
  }

  func remove<Output>(_ flight: CacheFlight<Output>) {
    let id = Key(key: flight.key, type: ObjectIdentifier(Output.self))
    flights.withLock { flights in
      if flights[id] === flight { flights[id] = nil }
    }
  }
}
