import Synchronization

/// Something that happens once in a test, with a value; tasks wait for it instead of sleeping.
package final class Signal<Value: Sendable>: Sendable {
  private struct State {
    var value: Value?
    var waiting: [CheckedContinuation<Value, Never>] = []
  }
  private let state = Mutex(State())

  package init() {}

  /// Says that it has happened; only the first time counts.
  package func send(_ value: Value) {
    let waiting = state.withLock { state in
      guard state.value == nil else { return [CheckedContinuation<Value, Never>]() }
      state.value = value
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume(returning: value) }
  }

  /// Waits until it has happened.
  package func wait() async -> Value {
    await withCheckedContinuation { continuation in
      let value = state.withLock { state in
        if state.value == nil { state.waiting.append(continuation) }
        return state.value
      }
      if let value { continuation.resume(returning: value) }
    }
  }

  /// Whether it has happened.
  package var hasHappened: Bool { state.withLock { $0.value != nil } }
}

extension Signal where Value == Void {
  package func send() { send(()) }
}
