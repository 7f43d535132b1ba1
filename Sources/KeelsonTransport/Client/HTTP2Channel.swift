package import KeelsonCore

/// A channel over HTTP/2, with TLS or without, to TCP addresses or Unix sockets.
///
/// The first call, or ``connect()``, finds the addresses and makes connections as
/// ``ChannelConfiguration/loadBalancingPolicy`` says; they are made again as long as anybody wants
/// them, attempts to each address spaced by ``ChannelConfiguration/backoff``. Calls that no server
/// has looked at are repeated unseen by the caller; others by
/// ``ChannelConfiguration/serviceConfig`` only.
package final class HTTP2Channel: Channel {
  let core: ChannelCore

  /// - Parameters:
  ///   - tls: how connections are secured; nil: not at all. Unix sockets never are: the
  ///     permissions of their files guard them.
  ///   - loops: where the channel's connections live; the channel does not stop them.
  /// - Throws: INVALID_ARGUMENT for a configuration that cannot be used.
  package init(
    target: Target, configuration: ChannelConfiguration = ChannelConfiguration(),
    tls: TLSClientContext? = nil, loops: LoopGroup
  ) throws(RPCError) {
    try configuration.validate()
    core = ChannelCore(
      target: target, configuration: configuration, tls: target.isUnix ? nil : tls,
      loop: loops.next())
  }

  deinit {
    // Calls under way keep what they need; the connection closes after the last of them.
    core.loop.run { [core] in core.shutDown {} }
  }

  package var target: Target { core.target }

  /// What the connections are doing.
  package var state: ConnectivityState { core.states.current }

  /// The state now, then each change, until the channel is shut down. A slow reader misses states
  /// that did not last; the latest it always gets.
  package var states: AsyncStream<ConnectivityState> { core.states.watch() }

  /// Makes connections, if there are none, without waiting for it: ``states`` tells.
  package func connect() {
    core.loop.run { [core] in core.connect() }
  }

  package func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    let credit = ReceiveCredit(loop: core.loop)
    let responses = MessageQueue(limitBytes: core.configuration.responseQueueBytes) {
      credit.queueHasRoom()
    }
    let stream = ClientStream(core, method, options, responses: responses, credit: credit)
    stream.start()
    return HTTP2ClientCall(stream, responses: responses)
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
  /// take the grace time, then they are cancelled. Returns when the connections have closed.
  package func shutdown(grace: Duration = .seconds(5)) async {
    let core = core
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isRunning = core.loop.tryRun {
        let timer = core.loop.schedule(after: grace) {
          core.cancelCalls()
          core.closeConnections()
        }
        core.shutDown {
          core.loop.cancel(timer)
          continuation.resume()
        }
      }
      if !isRunning { continuation.resume() }
    }
  }
}
