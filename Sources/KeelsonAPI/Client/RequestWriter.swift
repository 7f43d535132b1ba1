internal import KeelsonCore
internal import Synchronization

/// The way to the server for a call's messages.
public final class RequestWriter<Request: Message>: Sendable {
  private let call: any ClientCall
  private let failed = Atomic(false)

  init(_ call: any ClientCall) {
    self.call = call
  }

  /// Sends a message and returns once there is room for another.
  ///
  /// - Throws: ``RPCError`` when the call has ended; its responses then say how.
  public func write(_ message: Request) async throws {
    do {
      try await call.send(message.encoded())
    } catch {
      failed.store(true, ordering: .relaxed)
      throw error
    }
  }

  /// Says that no more messages follow. Calling it again does nothing.
  public func finish() {
    call.finishSending()
  }

  /// Whether a write found the call ended.
  var hasFailed: Bool { failed.load(ordering: .relaxed) }

  func cancel() {
    call.cancel()
  }
}
