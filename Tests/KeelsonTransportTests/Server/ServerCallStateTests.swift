import KeelsonCore
import Testing

@testable import KeelsonTransport

struct ServerCallStateTests {
  @Test func aUnaryCallGathersItsMessageFirst() {
    var state = ServerCallState(isUnary: true)
    #expect(!state.isHandlerRunning)
    #expect(state.received([1], isCompressed: false) == .keep)
    #expect(state.receivedEnd(isInsideMessage: false) == .startUnary([1]))
    #expect(state.isHandlerRunning)
    #expect(state.write() == .sendHeadersAndMessage)
    #expect(state.handlerEnded() == true)
    #expect(state.finish(needsHeaders: true) == .sendTrailers)
    #expect(state.isFinished)
  }

  @Test func aStreamingCallRunsFromTheStart() {
    var state = ServerCallState(isUnary: false)
    #expect(state.isHandlerRunning)
    #expect(state.received([1], isCompressed: false) == .deliver([1]))
    #expect(state.write() == .sendHeadersAndMessage)
    #expect(state.write() == .sendMessage)
    #expect(state.receivedEnd(isInsideMessage: false) == .deliverEnd)
    #expect(state.finish(needsHeaders: true) == .sendTrailers)
    #expect(state.write() == .refuse)
  }

  @Test func aCallThatFailsAtOnceHasTrailersOnly() {
    var state = ServerCallState(isUnary: false)
    #expect(state.finish(needsHeaders: false) == .sendTrailersOnly)
    #expect(state.finish(needsHeaders: false) == .drop)
    var other = ServerCallState(isUnary: false)
    #expect(other.finish(needsHeaders: true) == .sendHeadersAndTrailers)
  }

  @Test func thePeersMistakesFailTheCall() {
    func code(_ action: ServerCallState.MessageAction) -> RPCError.Code? {
      if case .fail(let error) = action { error.code } else { nil }
    }
    var state = ServerCallState(isUnary: true)
    #expect(code(state.received([], isCompressed: true)) == .internalError)
    #expect(state.received([], isCompressed: false) == .keep)
    #expect(code(state.received([], isCompressed: false)) == .internalError)
    var cutOff = ServerCallState(isUnary: false)
    guard case .fail = cutOff.receivedEnd(isInsideMessage: true) else {
      Issue.record("a body that was cut off passed")
      return
    }
  }

  @Test func whatComesLateIsDropped() {
    var state = ServerCallState(isUnary: false)
    #expect(state.closed() == .cancelHandler)
    #expect(state.received([1], isCompressed: false) == .drop)
    #expect(state.receivedEnd(isInsideMessage: false) == .drop)
    #expect(state.write() == .refuse)
    #expect(state.finish(needsHeaders: true) == .drop)
    #expect(state.handlerEnded() == true)
    #expect(state.handlerEnded() == false)
  }

  @Test func aUnaryCallThatClosesBeforeItsMessageHasNoHandlerToStop() {
    var state = ServerCallState(isUnary: true)
    #expect(state.closed() == .nothing)
    #expect(state.handlerEnded() == false)
  }
}
