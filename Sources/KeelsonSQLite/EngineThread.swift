import Glibc
import KeelsonStore

/// Starts a thread of its own for blocking work.
enum EngineThread {
  private final class Start {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) {
      self.body = body
    }
  }

  /// - Throws: ``StoreError`` with code io when the system gives no thread.
  static func start(_ body: @escaping @Sendable () -> Void) throws {
    let start = unsafe Unmanaged.passRetained(Start(body: body))
    var thread = pthread_t()
    let status = unsafe pthread_create(
      &thread, nil,
      { argument in
        // The argument is the retained Start from below; the thread owns it from here.
        guard let argument = unsafe argument else { return nil }
        let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        start.body()
        return nil
      }, start.toOpaque())
    guard status == 0 else {
      unsafe start.release()
      throw StoreError(.io, "The system gave no thread: error \(status).")
    }
    pthread_detach(thread)
  }
}
