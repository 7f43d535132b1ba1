public import KeelsonCore
internal import Synchronization

/// The messages that a server sends on a call, in order. Can be gone through once.
///
/// Leaving the loop, cancelling its task, and dropping the stream unread all cancel the call.
/// Going through it throws ``RPCError`` when the call ends with any status but OK.
public struct ResponseStream<Response: Message>: AsyncSequence, Sendable {
  public typealias Element = Response
  public typealias Failure = any Error

  private let lifetime: CallLifetime

  init(_ call: any ClientCall) {
    lifetime = CallLifetime(call)
  }

  /// Waits for the metadata ahead of the first message.
  ///
  /// - Throws: ``RPCError`` if the call fails before any came.
  public func initialMetadata() async throws -> Metadata {
    let call = lifetime.call
    return try await withTaskCancellationHandler {
      do {
        return try await call.initialMetadata()
      } catch let error as RPCError {
        throw error.withDecodedDetails()
      }
    } onCancel: {
      call.cancel()
    }
  }

  /// The metadata that came with the status; empty until the stream has ended.
  public var trailingMetadata: Metadata { lifetime.call.trailingMetadata }

  /// Ends the call: reading on throws CANCELLED.
  public func cancel() {
    lifetime.call.cancel()
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(lifetime: lifetime)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let lifetime: CallLifetime
    /// Ends the call together with the iterator, though the stream may live on.
    private let reading: CallLifetime

    fileprivate init(lifetime: CallLifetime) {
      self.lifetime = lifetime
      reading = CallLifetime(lifetime.call)
    }

    /// Waits for the next message; nil once the server has ended the call with OK.
    ///
    /// - Throws: ``RPCError`` for any other status.
    public mutating func next() async throws -> Response? {
      try await next(isolation: #isolation)
    }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Response? {
      let call = lifetime.call
      return try await withTaskCancellationHandler {
        do {
          guard let bytes = try await call.receive() else {
            lifetime.end()
            reading.end()
            return nil
          }
          return try Response(reply: bytes)
        } catch let error as RPCError {
          throw error.withDecodedDetails()
        }
      } onCancel: {
        call.cancel()
      }
    }
  }
}

/// Cancels a call when nothing refers to it any more, unless it has ended by itself.
private final class CallLifetime: Sendable {
  let call: any ClientCall
  private let hasEnded = Atomic(false)

  init(_ call: any ClientCall) {
    self.call = call
  }

  deinit {
    if !hasEnded.load(ordering: .relaxed) { call.cancel() }
  }

  func end() {
    hasEnded.store(true, ordering: .relaxed)
  }
}
