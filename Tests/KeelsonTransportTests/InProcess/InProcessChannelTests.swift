import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

struct InProcessChannelTests {
  @Test func behavesAsEveryChannelDoes() async throws {
    let service = EchoService()
    try await withInProcessChannel(to: service.routes) { channel in
      try await EchoConformance(channel: channel, service: service).runAll()
    }
    #expect(service.running == 0)
  }

  @Test func lettingGoOfACallCancelsItsHandler() async throws {
    let service = EchoService()
    try await withInProcessChannel(to: service.routes) { channel in
      var call: (any ClientCall)? = channel.startCall(EchoService.ignore, options: CallOptions())
      try await call?.send([])
      await service.hasStarted.wait()
      call = nil
      await service.wasCancelled.wait()
    }
  }

  @Test func shutdownCancelsWhatIsUnderWayAndRefusesWhatComesLater() async throws {
    let service = EchoService()
    let channel = InProcessChannel(routes: service.routes)
    let conformance = EchoConformance(channel: channel, service: service)
    async let hanging = conformance.error(of: EchoService.hang)
    await service.hasStarted.wait()
    await channel.shutdown()
    #expect(service.running == 0)
    #expect(await hanging?.code == .cancelled)
    #expect(await conformance.error(of: EchoService.echo)?.code == .unavailable)
  }

  @Test func sendingAfterTheHandlerReturnedFails() async throws {
    let service = EchoService()
    try await withInProcessChannel(to: service.routes) { channel in
      let call = channel.startCall(EchoService.repeated, options: CallOptions())
      try await call.send([1, 9])
      #expect(try await call.receive() == [9])
      #expect(try await call.receive() == nil)
      await #expect(throws: RPCError.self) { try await call.send([1]) }
    }
  }

  @Test func aUnaryHandlerGetsExactlyOneRequest() async throws {
    let service = EchoService()
    try await withInProcessChannel(to: service.routes) { channel in
      let none = channel.startCall(EchoService.echo, options: CallOptions())
      none.finishSending()
      let noneError = await #expect(throws: RPCError.self) { try await none.receive() }
      #expect(noneError?.code == .internalError)
      let two = channel.startCall(EchoService.echo, options: CallOptions())
      try await two.send([1])
      try await two.send([2])
      two.finishSending()
      let twoError = await #expect(throws: RPCError.self) { try await two.receive() }
      #expect(twoError?.code == .internalError)
    }
  }
}
