import KeelsonCore
import KeelsonTestKit
import Testing

/// What every channel must do with the ``EchoService`` behind it.
struct EchoConformance {
  let channel: any Channel
  let service: EchoService

  func runAll() async throws {
    try await unary()
    try await failures()
    try await deadline()
    try await clientStreaming()
    try await serverStreaming()
    try await bidirectional()
    try await largeMessages()
    try await backpressureOfResponses()
    try await backpressureOfRequests()
    try await cancelledTask()
  }

  func unary() async throws {
    var metadata: Metadata = ["x-echo": "hello", "x-correlation-id": "abc"]
    metadata.add("x-echo-bin", binary: [0, 255, 1])
    let reply = try await channel.unary(
      EchoService.echo, [1, 2, 3], options: CallOptions(metadata: metadata))
    #expect(reply.message == [1, 2, 3])
    #expect(reply.initialMetadata["x-echo"] == "hello")
    #expect(reply.trailingMetadata[binary: "x-echo-bin"] == [0, 255, 1])
    #expect(reply.trailingMetadata["x-correlation-id"] == "abc")
    let empty = try await channel.unary(EchoService.echo, [], options: CallOptions())
    #expect(empty.message == [])
  }

  func failures() async throws {
    let failed = await error(of: EchoService.fail)
    #expect(failed?.code == .notFound)
    #expect(failed?.message == "Nothing hère: 100% gone")
    #expect(failed?.encodedStatus == [1, 2, 3])
    #expect(failed?.metadata["x-why"] == "test")
    #expect(failed?.metadata["x-from"] == "context")
    #expect(failed?.cause == nil)

    let crashed = await error(of: EchoService.crash)
    #expect(crashed?.code == .unknown)
    #expect(crashed?.message.contains("Crash") == false)

    let unknown = await error(of: EchoService.method("Nothing", .unary))
    #expect(unknown?.code == .unimplemented)

    let refused = await error(of: EchoService.echo, CallOptions(metadata: ["grpc-status": "0"]))
    #expect(refused?.code == .internalError)
  }

  func deadline() async throws {
    // On a busy machine the deadline may pass before the server has begun the call.
    repeat {
      let late = await error(of: EchoService.hang, CallOptions(timeout: .milliseconds(20)))
      #expect(late?.code == .deadlineExceeded)
    } while !service.hasStarted.hasHappened
    await service.wasCancelled.wait()
    let passed = await error(of: EchoService.echo, CallOptions(timeout: .zero))
    #expect(passed?.code == .deadlineExceeded)
  }

  func clientStreaming() async throws {
    let call = channel.startCall(EchoService.count, options: CallOptions())
    for size in 0..<100 { try await call.send([UInt8](repeating: 1, count: size)) }
    call.finishSending()
    call.finishSending()
    #expect(try await call.receive() == EchoService.encoded(100) + EchoService.encoded(4950))
    #expect(try await call.receive() == nil)
    #expect(try await call.receive() == nil)
  }

  func serverStreaming() async throws {
    for count in [0, 1, 200] as [UInt8] {
      let call = channel.startCall(EchoService.repeated, options: CallOptions())
      try await call.send([count, 7, 8])
      call.finishSending()
      for _ in 0..<count { #expect(try await call.receive() == [7, 8]) }
      #expect(try await call.receive() == nil)
      #expect(call.trailingMetadata["x-correlation-id"] != nil)
    }
  }

  func bidirectional() async throws {
    let call = channel.startCall(
      EchoService.chat, options: CallOptions(metadata: ["x-echo": "chat"]))
    for number in 0..<50 as Range<UInt8> {
      try await call.send([number])
      #expect(try await call.receive() == [number])
    }
    #expect(try await call.initialMetadata()["x-echo"] == "chat")
    call.finishSending()
    #expect(try await call.receive() == nil)
  }

  func largeMessages() async throws {
    let large = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let reply = try await channel.unary(EchoService.echo, large, options: CallOptions())
    #expect(reply.message == large)
    let tooLarge = [UInt8](repeating: 0, count: 4 * 1024 * 1024 + 1)
    let refused = await #expect(throws: RPCError.self) {
      try await channel.unary(EchoService.echo, tooLarge, options: CallOptions())
    }
    #expect(refused?.code == .resourceExhausted)
  }

  /// A reader that stops reading stops the server, which has written no more than fits into the
  /// queues and windows between them.
  func backpressureOfResponses() async throws {
    let call = channel.startCall(EchoService.flood, options: CallOptions())
    try await call.send([])
    call.finishSending()
    _ = try await call.receive()
    var seen = -1
    // The server has come to rest when other calls go through and it wrote nothing meanwhile.
    while service.written != seen {
      seen = service.written
      for _ in 0..<20 { _ = try await channel.unary(EchoService.echo, [], options: CallOptions()) }
    }
    #expect(seen < 4096, "4 MiB are more than all windows and queues together hold")
    for _ in 0..<5000 { #expect(try await call.receive()?.count == 1024) }
    call.cancel()
    let error = await #expect(throws: RPCError.self) { while try await call.receive() != nil {} }
    #expect(error?.code == .cancelled)
    while service.running > 0 { await Task.yield() }
  }

  /// A handler that does not read stops the client.
  func backpressureOfRequests() async throws {
    let call = channel.startCall(EchoService.ignore, options: CallOptions())
    let sender = Task {
      var sent = 0
      let message = [UInt8](repeating: 1, count: 64 * 1024)
      do {
        while true {
          try await call.send(message)
          sent += 1
          if sent > 200 { return sent }
        }
      } catch {
        return sent
      }
    }
    for _ in 0..<50 { _ = try await channel.unary(EchoService.echo, [], options: CallOptions()) }
    call.cancel()
    #expect(await sender.value < 100, "6 MiB are more than all windows and queues together hold")
    let error = await #expect(throws: RPCError.self) { try await call.receive() }
    #expect(error?.code == .cancelled)
    while service.running > 0 { await Task.yield() }
  }

  func cancelledTask() async throws {
    let before = service.cancelled
    let caller = Task { await error(of: EchoService.hang) }
    while service.running == 0 { await Task.yield() }
    caller.cancel()
    #expect(await caller.value?.code == .cancelled)
    while service.cancelled == before { await Task.yield() }

    let neverStarted = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return await error(of: EchoService.echo)
    }
    #expect(await neverStarted.value?.code == .cancelled)
  }

  /// The error a unary call throws; nil if it succeeds.
  func error(of method: MethodDescriptor, _ options: CallOptions = CallOptions()) async -> RPCError?
  {
    do {
      _ = try await channel.unary(method, [1], options: options)
      return nil
    } catch {
      return error as? RPCError
    }
  }
}
