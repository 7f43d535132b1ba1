import Synchronization

/// What stands around the calls of a client: plain functions.
///
/// A client has a list of them. Each call runs `begin` of all in order, and when it has ended,
/// `end` of all in reverse order. They run wherever the caller is, or on the channel's thread,
/// and must not block.
public struct ClientInterceptor: Sendable {
  /// Before the call: it may change the options. What it throws is how the call ends, before it
  /// has left the client.
  public typealias Begin =
    @Sendable (_ method: MethodDescriptor, _ options: inout CallOptions) throws(RPCError) -> Void
  /// After the call has ended in whatever way. Comes exactly once for each call that began.
  public typealias End = @Sendable (_ method: MethodDescriptor, _ outcome: Outcome) -> Void

  /// How a call ended for its caller.
  public struct Outcome: Sendable {
    /// nil: with OK.
    public let error: RPCError?
    /// From its begin to its end.
    public let duration: Duration

    public init(error: RPCError?, duration: Duration) {
      self.error = error
      self.duration = duration
    }
  }

  public var begin: Begin?
  public var end: End?

  public init(begin: Begin? = nil, end: End? = nil) {
    self.begin = begin
    self.end = end
  }
}

/// A channel with interceptors around each of its calls.
public struct InterceptedChannel: Channel {
  private let channel: any Channel
  private let begins: [ClientInterceptor.Begin]
  /// In the order they run in.
  private let ends: [ClientInterceptor.End]

  public init(_ channel: any Channel, _ interceptors: [ClientInterceptor]) {
    self.channel = channel
    begins = interceptors.compactMap(\.begin)
    ends = interceptors.reversed().compactMap(\.end)
  }

  public func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    var options = options
    let call: any ClientCall
    do throws(RPCError) {
      for begin in begins { try begin(method, &options) }
      call = channel.startCall(method, options: options)
    } catch {
      call = RefusedCall(error)
    }
    return ends.isEmpty ? call : InterceptedCall(call, method, ends)
  }

  public func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions)
    async throws -> UnaryReply
  {
    var options = options
    let started = ContinuousClock.now
    do {
      for begin in begins { try begin(method, &options) }
      let reply = try await channel.unary(method, request, options: options)
      finish(method, nil, started)
      return reply
    } catch {
      finish(method, RPCError(endedBy: error), started)
      throw error
    }
  }

  private func finish(
    _ method: MethodDescriptor, _ error: RPCError?, _ started: ContinuousClock.Instant
  ) {
    guard !ends.isEmpty else { return }
    let outcome = ClientInterceptor.Outcome(
      error: error, duration: started.duration(to: ContinuousClock.now))
    for end in ends { end(method, outcome) }
  }
}

extension RPCError {
  fileprivate init(endedBy error: any Error) {
    self = error as? RPCError ?? RPCError(.cancelled, "The caller's task was cancelled.")
  }
}

/// A call that an interceptor did not let begin.
private final class RefusedCall: ClientCall {
  private let error: RPCError

  init(_ error: RPCError) {
    self.error = error
  }

  func send(_ message: [UInt8]) async throws { throw error }
  func finishSending() {}
  func receive() async throws -> [UInt8]? { throw error }
  func initialMetadata() async throws -> Metadata { throw error }
  var trailingMetadata: Metadata { error.metadata }
  func cancel() {}
}

/// A streaming call whose end is told: when its reader learns of it, or nobody will.
private final class InterceptedCall: ClientCall {
  private let call: any ClientCall
  private let method: MethodDescriptor
  private let ends: [ClientInterceptor.End]
  private let started = ContinuousClock.now
  private let hasEnded = Atomic(false)

  init(_ call: any ClientCall, _ method: MethodDescriptor, _ ends: [ClientInterceptor.End]) {
    self.call = call
    self.method = method
    self.ends = ends
  }

  deinit {
    finish(RPCError(.cancelled, "The caller let go of the call."))
  }

  func send(_ message: [UInt8]) async throws { try await call.send(message) }

  func finishSending() { call.finishSending() }

  func receive() async throws -> [UInt8]? {
    do {
      let message = try await call.receive()
      if message == nil { finish(nil) }
      return message
    } catch {
      finish(RPCError(endedBy: error))
      throw error
    }
  }

  func initialMetadata() async throws -> Metadata { try await call.initialMetadata() }

  var trailingMetadata: Metadata { call.trailingMetadata }

  func cancel() { call.cancel() }

  private func finish(_ error: RPCError?) {
    guard !hasEnded.exchange(true, ordering: .relaxed) else { return }
    let outcome = ClientInterceptor.Outcome(
      error: error, duration: started.duration(to: ContinuousClock.now))
    for end in ends { end(method, outcome) }
  }
}
