/// A suspended task, to be resumed with a value.
///
/// Whoever takes a waiter out of the state it stands in resumes it, exactly once; the state's
/// lock sees to that. It is not checked at run time, which saves an allocation per wait.
@safe struct Waiter<Value: Sendable>: Sendable {
  private let continuation: UnsafeContinuation<Value, Never>

  /// Suspends the task until somebody resumes the waiter that `body` is given.
  static func wait(_ body: (Waiter) -> Void) async -> Value {
    await unsafe withUnsafeContinuation { body(unsafe Waiter(continuation: $0)) }
  }

  func resume(returning value: Value) {
    unsafe continuation.resume(returning: value)
  }
}
