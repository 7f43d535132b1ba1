import Glibc
import KeelsonStore

/// Runs what blocks on a thread of its own: libpq looks names up, reads certificates and asks for
/// cancellations in calls that wait, and a loop must not.
enum BlockingCall {
  private final class Start {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) {
      self.body = body
    }
  }

  /// - Throws: ``StoreError`` with code io when the system gives no thread.
  static func run<Value: Sendable>(
    _ body: @escaping @Sendable () -> sending Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      let start = unsafe Unmanaged.passRetained(Start { continuation.resume(returning: body()) })
      var thread = pthread_t()
      let status = unsafe pthread_create(
        &thread, nil,
        { argument in
          // The argument is the retained Start from above; the thread owns it from here.
          guard let argument = unsafe argument else { return nil }
          unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
          return nil
        }, start.toOpaque())
      guard status == 0 else {
        unsafe start.release()
        continuation.resume(
          throwing: StoreError(.io, "The system gave no thread: error \(status)."))
        return
      }
      pthread_detach(thread)
    }
  }
}
