import KeelsonCore
import Testing

@testable import KeelsonTransport

struct ServerCallStateTests {
  private func message(_ bytes: [UInt8], isCompressed: Bool = false) -> ReceivedMessage {
    ReceivedMessage(bytes: bytes, isCompressed: isCompressed)
  }

  @Test func aCompressedMessageStaysSoUntilItIsTaken() {
    var unary = ServerCallState(isUnary: true, mayBeCompressed: true)
    #expect(unary.received(message([1], isCompressed: true)) == .keep)
    #expect(
      unary.receivedEnd(isInsideMessage: false) == .startUnary(message([1], isCompressed: true)))
    var stream = ServerCallState(isUnary: false, mayBeCompressed: true)
    #expect(
      stream.received(message([1], isCompressed: true))
        == .deliver(message([1], isCompressed: true)))
  }

  @Test func aUnaryCallGathersItsMessageFirst() {
    var state = ServerCallState(isUnary: true, mayBeCompressed: false)
    #expect(!state.isHandlerRunning)
    #expect(state.received(message([1])) == .keep)
    #expect(state.receivedEnd(isInsideMessage: false) == .startUnary(message([1])))
    #expect(state.isHandlerRunning)
    #expect(state.write() == .sendHeadersAndMessage)
    #expect(state.handlerEnded() == true)
    #expect(state.finish(needsHeaders: true) == .sendTrailers)
    #expect(state.isFinished)
  }

  @Test func aStreamingCallRunsFromTheStart() {
    var state = ServerCallState(isUnary: false, mayBeCompressed: false)
    #expect(state.isHandlerRunning)
    #expect(state.received(message([1])) == .deliver(message([1])))
    #expect(state.write() == .sendHeadersAndMessage)
    #expect(state.write() == .sendMessage)
    #expect(state.receivedEnd(isInsideMessage: false) == .deliverEnd)
    #expect(state.finish(needsHeaders: true) == .sendTrailers)
    #expect(state.write() == .refuse)
  }

  @Test func aCallThatFailsAtOnceHasTrailersOnly() {
    var state = ServerCallState(isUnary: false, mayBeCompressed: false)
    #expect(state.finish(needsHeaders: false) == .sendTrailersOnly)
    #expect(state.finish(needsHeaders: false) == .drop)
    var other = ServerCallState(isUnary: false, mayBeCompressed: false)
    #expect(other.finish(needsHeaders: true) == .sendHeadersAndTrailers)
  }

  @Test func thePeersMistakesFailTheCall() {
    func code(_ action: ServerCallState.MessageAction) -> RPCError.Code? {
      if case .fail(let error) = action { error.code } else { nil }
    }
    var state = ServerCallState(isUnary: true, mayBeCompressed: false)
    #expect(code(state.received(message([], isCompressed: true))) == .internalError)
    #expect(state.received(message([])) == .keep)
    #expect(code(state.received(message([]))) == .internalError)
    var cutOff = ServerCallState(isUnary: false, mayBeCompressed: false)
    guard case .fail = cutOff.receivedEnd(isInsideMessage: true) else {
      Issue.record("a body that was cut off passed")
      return
    }
  }

  @Test func whatComesLateIsDropped() {
    var state = ServerCallState(isUnary: false, mayBeCompressed: false)
    #expect(state.closed() == .cancelHandler)
    #expect(state.received(message([1])) == .drop)
    #expect(state.receivedEnd(isInsideMessage: false) == .drop)
    #expect(state.write() == .refuse)
    #expect(state.finish(needsHeaders: true) == .drop)
    #expect(state.handlerEnded() == true)
    #expect(state.handlerEnded() == false)
  }

  @Test func aUnaryCallThatClosesBeforeItsMessageHasNoHandlerToStop() {
    var state = ServerCallState(isUnary: true, mayBeCompressed: false)
    #expect(state.closed() == .nothing)
    #expect(state.handlerEnded() == false)
  }
}
