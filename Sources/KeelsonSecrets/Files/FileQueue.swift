import Dispatch
import KeelsonCore

/// Reading files waits for a disk, which neither a loop nor a task may do: a queue of its own does.
enum FileQueue {
  private static let queue = DispatchQueue(label: "keelson.secrets.files")

  static func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    let wait = CancellableWait<Value>()
    return try await wait.value {
      queue.async {
        guard !wait.isOver else { return }
        wait.end(Result { try body() })
      }
    }
  }
}
