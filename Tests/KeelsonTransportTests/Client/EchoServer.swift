import KeelsonCore
import KeelsonTestKit
import KeelsonTransport

/// The ``EchoService`` on a server, on a free port of the loopback interface unless told otherwise.
struct EchoServer {
  let service: EchoService
  let server: Server
  let address: BoundAddress

  static func start(
    _ service: EchoService = EchoService(), at text: String = "127.0.0.1:0",
    limits: HTTP2Limits = .server
  ) async throws -> EchoServer {
    var configuration = try ServerConfiguration(addresses: [ListenAddress(parsing: text)])
    configuration.loopCount = 1
    configuration.http2 = limits
    let server = Server(configuration: configuration, routes: service.routes, logger: .silent)
    return EchoServer(service: service, server: server, address: try await server.start()[0])
  }

  func stop(grace: Duration = .seconds(5)) async {
    await server.drain(grace: grace)
  }
}

/// A channel and its loop, for as long as a test needs them.
struct ChannelUnderTest {
  let loops: LoopGroup
  let channel: HTTP2Channel

  init(_ target: String, _ change: (inout ChannelConfiguration) -> Void = { _ in }) throws {
    var configuration = ChannelConfiguration()
    configuration.backoff = ConnectionBackoff(
      initial: .milliseconds(5), maximum: .milliseconds(20))
    change(&configuration)
    loops = LoopGroup(count: 1)
    channel = try HTTP2Channel(
      target: try Target(target), configuration: configuration, loops: loops)
  }

  func stop() async {
    await channel.shutdown(grace: .zero)
    await loops.stop()
  }
}
