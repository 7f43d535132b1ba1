import KeelsonCore
import Testing

@testable import KeelsonTransport

/// A server under attack, and a good client that goes on getting answers meanwhile.
struct AttackedServer {
  static let echo = MethodDescriptor(service: "test.T", name: "Echo", kind: .unary)

  let server: TestServer
  var address: ListenAddress { server.address }

  /// Runs an attack; fails the test if the good client's calls do not all succeed in time, those
  /// during the attack and one after it.
  static func run(
    at listen: String = "127.0.0.1:0", interceptors: [ServerInterceptor] = [.correlation()],
    _ adjust: (inout ServerConfiguration) -> Void = { _ in },
    _ attack: (AttackedServer) async throws -> Void
  ) async throws {
    let address = try ListenAddress(parsing: listen)
    let server = try await TestServer(
      {
        $0.addresses = [address]
        adjust(&$0)
      }, interceptors: interceptors)
    let good = try ChannelUnderTest(server.address.description)
    let channel = good.channel
    try await call(channel)
    let calling = Task {
      var count = 0
      while !Task.isCancelled {
        // Unstructured, so that stopping does not cancel the call itself.
        try await Task { try await call(channel) }.value
        count += 1
      }
      return count
    }
    var thrown: (any Error)?
    do { try await attack(AttackedServer(server: server)) } catch { thrown = error }
    calling.cancel()
    let outcome = await calling.result
    #expect(throws: Never.self) { try outcome.get() }
    await #expect(throws: Never.self) { try await call(channel) }
    await good.stop()
    await server.finish()
    if let thrown { throw thrown }
  }

  private static func call(_ channel: HTTP2Channel) async throws {
    let reply = try await channel.unary(echo, [7], options: CallOptions(timeout: .seconds(60)))
    #expect(reply.message == [7])
  }
}
