import KeelsonCore
import Synchronization

/// Messages that arrive on a call, given beforehand.
final class GivenMessages: InboundMessages {
  private let rest: Mutex<[[UInt8]]>

  init(_ messages: [[UInt8]]) {
    rest = Mutex(messages)
  }

  func next() async throws -> [UInt8]? {
    rest.withLock { $0.isEmpty ? nil : $0.removeFirst() }
  }
}

/// Keeps what is written.
final class WrittenMessages: OutboundMessages {
  private let messages = Mutex<[[UInt8]]>([])

  var all: [[UInt8]] { messages.withLock { $0 } }

  func write(_ message: [UInt8]) async throws {
    messages.withLock { $0.append(message) }
  }
}

/// A channel whose calls are answered by a closure from what was sent, once sending has finished.
struct ScriptedChannel: Channel {
  let answer: @Sendable ([[UInt8]]) throws -> [[UInt8]]
  /// Gets each call that is started.
  let calls = CallLog()

  func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    let call = ScriptedCall(answer: answer)
    calls.append(call)
    return call
  }
}

final class CallLog: Sendable {
  private let calls = Mutex<[ScriptedCall]>([])

  var all: [ScriptedCall] { calls.withLock { $0 } }
  func append(_ call: ScriptedCall) { calls.withLock { $0.append(call) } }
}

final class ScriptedCall: ClientCall {
  private struct State {
    var sent: [[UInt8]] = []
    var replies: [[UInt8]]?
    var failure: (any Error)?
    var isFinished = false
    var isCancelled = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let answer: @Sendable ([[UInt8]]) throws -> [[UInt8]]
  private let state = Mutex(State())

  init(answer: @escaping @Sendable ([[UInt8]]) throws -> [[UInt8]]) {
    self.answer = answer
  }

  var isCancelled: Bool { state.withLock { $0.isCancelled } }
  var trailingMetadata: Metadata { ["trailing": "t"] }

  func initialMetadata() async throws -> Metadata { ["initial": "i"] }

  func send(_ message: [UInt8]) async throws {
    try state.withLock {
      if $0.isCancelled { throw RPCError(.cancelled, "ended") }
      $0.sent.append(message)
    }
  }

  func finishSending() {
    end { $0.isFinished = true }
  }

  func cancel() {
    end { $0.isCancelled = true }
  }

  private func end(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  func receive() async throws -> [UInt8]? {
    await withCheckedContinuation { continuation in
      let isReady = state.withLock { state in
        if state.isFinished || state.isCancelled { return true }
        state.waiter = continuation
        return false
      }
      if isReady { continuation.resume() }
    }
    return try state.withLock { state in
      if state.isCancelled { throw RPCError(.cancelled, "cancelled") }
      if state.replies == nil { state.replies = try answer(state.sent) }
      guard state.replies?.isEmpty == false else { return nil }
      return state.replies?.removeFirst()
    }
  }
}
