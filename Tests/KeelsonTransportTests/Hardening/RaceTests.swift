import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonTransport

/// Calls that meet drains, restarts and loops that end, by schedules that a seed repeats.
@Suite(.timeLimit(.minutes(2)))
struct RaceTests {
  /// How a call ended: nil is OK.
  private static func outcome(_ body: () async throws -> Void) async throws -> RPCError.Code? {
    do {
      try await body()
      return nil
    } catch let error as RPCError {
      return error.code
    }
  }

  /// One call of a random kind to its end.
  private static func call(_ channel: HTTP2Channel, _ kind: Int) async throws -> RPCError.Code? {
    try await outcome {
      switch kind {
      case 0, 1:
        let reply = try await channel.unary(EchoService.echo, [1], options: CallOptions())
        #expect(reply.message == [1])
      case 2:
        let call = channel.startCall(EchoService.repeated, options: CallOptions())
        try await call.send([5, 7])
        call.finishSending()
        var count = 0
        while try await call.receive() != nil { count += 1 }
        #expect(count == 5)
      case 3:
        let call = channel.startCall(EchoService.chat, options: CallOptions())
        for number in 0..<10 as Range<UInt8> {
          try await call.send([number])
          #expect(try await call.receive() == [number])
        }
        call.finishSending()
        #expect(try await call.receive() == nil)
      default:
        _ = try await channel.unary(
          EchoService.hang, [], options: CallOptions(timeout: .seconds(30)))
      }
    }
  }

  @Test(arguments: 1...8) func callsAndADrain(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let server = try await EchoServer.start()
    let client = try ChannelUnderTest(server.address.description)
    let channel = client.channel
    let done = Signal<Void>()
    let drainAfter = Int.random(in: 0..<40, using: &random)
    let grace = Duration.milliseconds(Int.random(in: 0..<20, using: &random))
    let kinds = (0..<60).map { _ in Int.random(in: 0..<5, using: &random) }
    let finished = Counter()
    let codes = try await withThrowingTaskGroup(of: RPCError.Code?.self) { group in
      for kind in kinds {
        group.addTask {
          defer {
            if finished.add() == drainAfter { done.send(()) }
          }
          return try await Self.call(channel, kind)
        }
      }
      // Calls that hang never finish by themselves: those that do may be too few.
      if drainAfter < kinds.count(where: { $0 < 4 }), drainAfter > 0 { await done.wait() }
      await server.stop(grace: grace)
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(codes.count == kinds.count)
    for case let code? in codes {
      #expect([.unavailable, .cancelled].contains(code), "seed \(seed)")
    }
    #expect(server.service.running == 0)
    await client.stop()
  }

  @Test(arguments: 1...4) func aChannelAndServersThatRestart(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let service = EchoService()
    var server = try await EchoServer.start(service)
    let address = server.address.description
    let client = try ChannelUnderTest(address)
    let channel = client.channel
    let callers = (0..<4).map { _ in
      let kinds = (0..<40).map { _ in Int.random(in: 0..<4, using: &random) }
      return Task {
        var codes: [RPCError.Code?] = []
        for kind in kinds { codes.append(try await Self.call(channel, kind)) }
        return codes
      }
    }
    for _ in 0..<5 {
      await server.stop(grace: .milliseconds(Int.random(in: 0..<5, using: &random)))
      server = try await EchoServer.start(service, at: address)
    }
    for caller in callers {
      for case let code? in try await caller.value {
        #expect([.unavailable, .cancelled].contains(code), "seed \(seed)")
      }
    }
    // It finds the last server by itself.
    let reply = try await channel.unary(
      EchoService.echo, [4], options: CallOptions(timeout: .seconds(20), waitForReady: true))
    #expect(reply.message == [4])
    await client.stop()
    await server.stop(grace: .zero)
    #expect(service.running == 0)
  }

  /// After a thousand calls, cancels, resets and lost connections nothing is left of any of them.
  @Test func nothingIsLeftBehind() async throws {
    weak var loop: Loop?
    weak var connection: HTTP2Connection?
    weak var core: ChannelCore?
    weak var clientLoop: Loop?
    do {
      let server = try await EchoServer.start()
      let client = try ChannelUnderTest(server.address.description)
      loop = server.server.loops.next()
      clientLoop = client.loops.next()
      core = client.channel.core
      for number in 0..<1_000 {
        switch number % 5 {
        case 0:
          let task = Task { try await Self.call(client.channel, 4) }
          task.cancel()
          _ = try await task.value
        case 1:
          // Letting go of a call cancels it.
          let call = client.channel.startCall(EchoService.ignore, options: CallOptions())
          try await call.send([1])
        default:
          #expect(try await Self.call(client.channel, number % 4) == nil)
        }
      }
      let channelCore = client.channel.core
      connection = await channelCore.loop.call { WeakBox(channelCore.openConnections.first) }.value
      #expect(connection != nil)
      await client.stop()
      await server.stop(grace: .zero)
      #expect(server.service.running == 0)
    }
    // The threads let go of their loops a moment after they are said to have ended.
    while loop != nil || clientLoop != nil { await Task.yield() }
    #expect(connection == nil)
    #expect(core == nil)
  }

  /// `@unchecked Sendable`: set once, at init; the runtime reads weak references atomically.
  private struct WeakBox: @unchecked Sendable {
    weak var value: HTTP2Connection?
    init(_ value: HTTP2Connection?) { self.value = value }
  }

  /// Work posted while a loop ends runs, or is known not to; the loop's end is never tripped over.
  @Test func postingToALoopThatEnds() async throws {
    for _ in 0..<100 {
      let loop = Loop()
      loop.start()
      let ran = Counter()
      let accepted = await withTaskGroup(of: Int.self) { group in
        for _ in 0..<4 {
          group.addTask {
            var count = 0
            while count < 10_000, loop.tryRun({ _ = ran.add() }) {
              count += 1
              await Task.yield()
            }
            return count
          }
        }
        await loop.stop()
        return await group.reduce(0, +)
      }
      #expect(ran.value == accepted)
    }
  }

  @Test func aCallOnALoopThatHasEnded() async throws {
    let server = try await EchoServer.start()
    for _ in 0..<50 {
      let client = try ChannelUnderTest(server.address.description)
      let channel = client.channel
      let call = Task { try await Self.call(channel, 0) }
      await client.loops.stop()
      if let code = try await call.value {
        #expect([.unavailable, .cancelled].contains(code))
      }
    }
    await server.stop(grace: .zero)
  }

  /// A message that fills the queue just as the reader begins to wait makes room all the same.
  @Test func aQueueThatOneMessageFills() async throws {
    let queue = MessageQueue(limitBytes: 100)
    let message = [UInt8](repeating: 1, count: 200)
    let reader = Task.detached {
      var count = 0
      while case .message = await queue.next() { count += 1 }
      return count
    }
    for _ in 0..<20_000 where !queue.push(message) {
      #expect(await queue.waitForRoom() == nil)
    }
    queue.finish(.ok([:]), discarding: false)
    #expect(await reader.value == 20_000)
  }
}

/// Counts from any thread.
private final class Counter: Sendable {
  private let count = Mutex(0)

  var value: Int { count.withLock { $0 } }

  /// Adds one, and returns the sum.
  func add() -> Int {
    count.withLock { count in
      count += 1
      return count
    }
  }
}
