import KeelsonCore
import Synchronization

/// Who waits for what another loads, and when something last happened to a key.
///
/// What has happened is kept by hash, so that it takes the same room for any number of keys; a key that
/// shares its place with another is woken for nothing now and then, and asks again.
final class LeaseWaiters: Sendable {
  private struct State {
    var happened: UInt64 = 0
    /// By hash of the key, the last that has happened.
    var last = [UInt64](repeating: 0, count: LeaseWaiters.places)
    var lastToAll: UInt64 = 0
    var waiting: [String: [CancellableWait<Void>]] = [:]
  }

  private static let places = 4_096
  private let state = Mutex(State())

  private static func place(_ key: String) -> Int { key.hashValue & (places - 1) }

  /// For ``wait(for:after:schedule:)``: what happens from now on.
  var ticket: UInt64 { state.withLock { $0.happened } }

  func wake(_ key: String) {
    let woken = state.withLock { state -> [CancellableWait<Void>]? in
      state.happened += 1
      state.last[Self.place(key)] = state.happened
      return state.waiting.isEmpty ? nil : state.waiting.removeValue(forKey: key)
    }
    for wait in woken ?? [] { wait.end(.success(())) }
  }

  func wakeAll() {
    let woken = state.withLock { state in
      state.happened += 1
      state.lastToAll = state.happened
      defer { state.waiting = [:] }
      return state.waiting
    }
    for wait in woken.values.joined() { wait.end(.success(())) }
  }

  /// Waits until something happens to the key, or has since the ticket.
  ///
  /// - Parameter schedule: has the wait that it is given ended in time, and returns how to take that
  ///   back.
  func wait(
    for key: String, after ticket: UInt64,
    schedule: (CancellableWait<Void>) -> () -> Void
  ) async {
    let wait = CancellableWait<Void>()
    let hasHappened = state.withLock { state in
      if state.last[Self.place(key)] > ticket || state.lastToAll > ticket { return true }
      state.waiting[key, default: []].append(wait)
      return false
    }
    guard !hasHappened else { return }
    let cancel = schedule(wait)
    // A task that is cancelled leaves at once; whoever is woken asks again anyhow.
    try? await wait.value {}
    cancel()
    state.withLock { state in
      state.waiting[key]?.removeAll { $0 === wait }
      if state.waiting[key]?.isEmpty == true { state.waiting[key] = nil }
    }
  }
}
