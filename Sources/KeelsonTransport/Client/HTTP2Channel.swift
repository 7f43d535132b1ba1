package import KeelsonCore

/// A channel over HTTP/2, without TLS, to a TCP address or a Unix socket.
///
/// It has one connection at a time. The first call, or ``connect()``, makes it; when it is lost
/// the next call makes another. Calls that the server refused without looking at them are
/// repeated once, unseen by the caller. Failing attempts are spaced by
/// ``ChannelConfiguration/backoff`` and go on until one succeeds or the channel is shut down.
package final class HTTP2Channel: Channel {
  let core: ChannelCore

  /// - Parameters:
  ///   - loops: where the channel's connection lives; the channel does not stop them.
  package init(
    target: Target, configuration: ChannelConfiguration = ChannelConfiguration(), loops: LoopGroup
  ) {
    core = ChannelCore(target: target, configuration: configuration, loop: loops.next())
  }

  deinit {
    // Calls under way keep what they need; the connection closes after the last of them.
    core.loop.run { [core] in core.shutDown {} }
  }

  package var target: Target { core.target }

  /// What the connection is doing.
  package var state: ConnectivityState { core.states.current }

  /// The state now, then each change, until the channel is shut down. A slow reader misses states
  /// that did not last; the latest it always gets.
  package var states: AsyncStream<ConnectivityState> { core.states.watch() }

  /// Makes a connection, if there is none, without waiting for it: ``states`` tells.
  package func connect() {
    core.loop.run { [core] in core.connect() }
  }

  package func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    let stream = ClientStream(core, method, options)
    stream.start()
    return HTTP2ClientCall(stream)
  }

  package func unary(
    _ method: MethodDescriptor, _ request: [UInt8], options: CallOptions
  ) async throws -> UnaryReply {
    let stream = ClientStream(core, method, request: request, options)
    return try await withTaskCancellationHandler {
      await ClientStream.UnaryWaiter.wait { waiter in stream.start(waiter) }
    } onCancel: {
      stream.cancel()
    }.get()
  }

  /// Ends the channel: new calls fail, those that wait for a connection too; those under way may
  /// take the grace time, then they are cancelled. Returns when the connection has closed.
  package func shutdown(grace: Duration = .seconds(5)) async {
    let core = core
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isRunning = core.loop.tryRun {
        let timer = core.loop.schedule(after: grace) { core.cancelCalls() }
        core.shutDown {
          core.loop.cancel(timer)
          continuation.resume()
        }
      }
      if !isRunning { continuation.resume() }
    }
  }
}
