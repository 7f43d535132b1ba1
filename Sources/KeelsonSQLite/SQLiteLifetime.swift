import Synchronization

/// Counts the engine's threads down: when the last has closed its connection the folder is let
/// go of and everybody who waits for the end is told.
final class SQLiteLifetime: Sendable {
  private struct State {
    var threads = 0
    var lock: FolderLock?
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state: Mutex<State>

  init(lock: sending FolderLock) {
    state = Mutex(State(lock: lock))
  }

  /// Starts a thread that counts until its body has returned.
  func startThread(_ body: @escaping @Sendable () -> Void) throws {
    state.withLock { $0.threads += 1 }
    do {
      try EngineThread.start {
        body()
        self.threadEnded()
      }
    } catch {
      threadEnded()
      throw error
    }
  }

  func waitForEnd() async {
    await withCheckedContinuation { continuation in
      let hasEnded = state.withLock { state in
        if state.threads > 0 { state.waiters.append(continuation) }
        return state.threads == 0
      }
      if hasEnded { continuation.resume() }
    }
  }

  private func threadEnded() {
    let waiters = state.withLock { state in
      state.threads -= 1
      guard state.threads == 0 else { return [CheckedContinuation<Void, Never>]() }
      state.lock = nil
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }
}
