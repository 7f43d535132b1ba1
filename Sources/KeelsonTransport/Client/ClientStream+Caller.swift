import KeelsonCore
import Synchronization

// The caller's side, on any thread.

extension ClientStream {
  /// Lets the call enter its channel.
  ///
  /// - Parameter waiter: who waits for a unary call's reply.
  func start(_ waiter: UnaryWaiter? = nil) {
    unaryWaiter = waiter
    if !core.loop.tryRun({ [self] in core.begin(self) }) {
      // The loop has ended, so nothing else touches this call.
      end(
        .failed(RPCError(.unavailable, "The channel's event loop was stopped.")),
        discarding: true)
    }
  }

  /// Queues a message and returns once there is room for another.
  func send(_ message: [UInt8], compress isCompressible: Bool) async throws(RPCError) {
    let (end, mustPost, mustWait) = outgoing.withLock { state -> (CallEnd?, Bool, Bool) in
      if let end = state.end { return (end, false, false) }
      guard !state.isFinished else {
        let error = RPCError(.internalError, "A message was sent after finishSending().")
        return (.failed(error), false, false)
      }
      state.messages.append(SendQueue.Message(bytes: message, isCompressible: isCompressible))
      state.bytes += message.count + MessageDeframer.prefixBytes
      defer { state.isDrainPending = true }
      return (nil, !state.isDrainPending, !state.hasRoom)
    }
    if let end { throw Self.sendError(end) }
    if mustPost { core.loop.run { [self] in drain() } }
    guard mustWait else { return }
    let later = await withTaskCancellationHandler {
      await Waiter<CallEnd?>.wait { waiter in
        let answer: CallEnd?? = outgoing.withLock { state in
          if let end = state.end { return .some(end) }
          if state.hasRoom { return .some(nil) }
          precondition(state.waiter == nil, "two tasks send on the same call")
          state.waiter = waiter
          return nil
        }
        if let answer { waiter.resume(returning: answer) }
      }
    } onCancel: {
      cancel()
    }
    if let later { throw Self.sendError(later) }
  }

  func finishSending() {
    let mustPost = outgoing.withLock { state in
      guard !state.isFinished, state.end == nil else { return false }
      state.isFinished = true
      defer { state.isDrainPending = true }
      return !state.isDrainPending
    }
    if mustPost { core.loop.run { [self] in drain() } }
  }

  /// Ends the call unless it has ended.
  func cancel() {
    core.loop.run { [self] in
      if hasBegun {
        end(.failed(.cancelledByCaller), discarding: true)
      } else {
        isCancelledEarly = true
      }
    }
  }

  private static func sendError(_ end: CallEnd) -> RPCError {
    end.error ?? RPCError(.internalError, "The server has ended the call with OK already.")
  }
}
