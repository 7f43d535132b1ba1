import Foundation
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// The channel against Python's grpcio. `KEELSON_PYTHON` names a Python that has it.
@Suite(
  .enabled(if: ProcessInfo.processInfo.environment["KEELSON_PYTHON"] != nil),
  .timeLimit(.minutes(5)))
struct GRPCIOServerTests {
  private static let script = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Peers/echo_peer.py")

  private func withServer(_ body: (HTTP2Channel) async throws -> Void) async throws {
    let python = try #require(ProcessInfo.processInfo.environment["KEELSON_PYTHON"])
    let process = Process()
    process.executableURL = URL(filePath: python)
    process.arguments = [Self.script.path]
    let (input, output) = (Pipe(), Pipe())
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    defer {
      // The server serves until its input ends.
      try? input.fileHandleForWriting.close()
      process.waitUntilExit()
    }
    var line = ""
    while !line.hasSuffix("\n") {
      let byte = try output.fileHandleForReading.read(upToCount: 1) ?? Data()
      try #require(!byte.isEmpty, "The Python server ended before it said its port.")
      line += String(decoding: byte, as: UTF8.self)
    }
    let client = try ChannelUnderTest("127.0.0.1:\(line.dropLast())")
    do {
      try await body(client.channel)
    } catch {
      await client.stop()
      throw error
    }
    await client.stop()
  }

  @Test func allKindsOfCalls() async throws {
    try await withServer { channel in
      let conformance = EchoConformance(channel: channel, service: EchoService())
      try await conformance.unary()
      try await conformance.clientStreaming()
      try await conformance.bidirectional()
      let call = channel.startCall(EchoService.repeated, options: CallOptions())
      try await call.send([200, 7, 8])
      call.finishSending()
      for _ in 0..<200 { #expect(try await call.receive() == [7, 8]) }
      #expect(try await call.receive() == nil)
      let large = [UInt8](repeating: 3, count: 3_000_000)
      let reply = try await channel.unary(EchoService.echo, large, options: CallOptions())
      #expect(reply.message == large)
    }
  }

  @Test func failuresDeadlinesAndCancellation() async throws {
    try await withServer { channel in
      let conformance = EchoConformance(channel: channel, service: EchoService())
      let failed = await conformance.error(of: EchoService.fail)
      #expect(failed?.code == .notFound)
      #expect(failed?.message == "Nothing hère: 100% gone")
      #expect(failed?.encodedStatus == [1, 2, 3])
      #expect(failed?.metadata["x-why"] == "test")
      let unknown = await conformance.error(of: EchoService.method("Nothing", .unary))
      #expect(unknown?.code == .unimplemented)
      let late = await conformance.error(
        of: EchoService.hang, CallOptions(timeout: .milliseconds(50)))
      #expect(late?.code == .deadlineExceeded)
      let caller = Task { await conformance.error(of: EchoService.hang) }
      caller.cancel()
      #expect(await caller.value?.code == .cancelled)
    }
  }

  @Test func manyCallsAtOnce() async throws {
    try await withServer { channel in
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<500 {
          group.addTask {
            let request = EchoService.encoded(UInt64(number))
            return try await channel.unary(EchoService.echo, request, options: CallOptions())
              .message == request
          }
        }
        for try await isRight in group { #expect(isRight) }
      }
    }
  }
}
