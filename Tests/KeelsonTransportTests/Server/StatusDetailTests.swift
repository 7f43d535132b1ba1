import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonTransport

/// The transport's own refusals say when to try again.
@Suite struct StatusDetailTests {
  /// A server that stands its errors' details in `grpc-status-details-bin` as one byte: how many
  /// milliseconds to wait, in tens.
  private func server(_ adjust: @Sendable (inout ServerConfiguration) -> Void) async throws
    -> TestServer
  {
    try await TestServer(
      { configuration in
        configuration.overloadRetryDelay = .milliseconds(70)
        adjust(&configuration)
      },
      encodeDetails: { error in
        var error = error
        if case .retryInfo(let delay)? = error.details.first {
          error.encodedStatus = [UInt8(clamping: Int(delay / .milliseconds(10)))]
        }
        return error
      })
  }

  @Test func aCallTurnedAwayForOverloadIsToldWhenToTryAgain() async throws {
    let server = try await server { $0.maximumRunningCalls = 1 }
    let client = try await RawClient(server.address)
    let parked = await client.call("/test.T/Park", [[]])
    #expect(await server.signals.wait(for: "parked"))
    let refused = await client.call("/test.T/Echo", [[1]]).result()
    #expect(refused.status == 8)
    #expect(refused.fields["grpc-status-details-bin"] == "Bw")
    server.signals.gate.signal()
    #expect(await parked.result().status == 0)
    await client.close()
    await server.finish()
  }

  @Test func aCallThatADrainCutsOffIsToldWhenToTryAgain() async throws {
    let server = try await server { _ in }
    let client = try await RawClient(server.address)
    let waiting = await client.call("/test.T/Wait", finish: false)
    #expect(await server.signals.wait(for: "waiting"))
    await server.server.drain(grace: .zero)
    let cut = await waiting.result()
    #expect(cut.status == 14)
    #expect(cut.fields["grpc-status-details-bin"] == "Bw")
    await client.close()
  }
}
