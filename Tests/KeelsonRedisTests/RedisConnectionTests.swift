import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import KeelsonTransport
import Testing

@Suite(.timeLimit(.minutes(10))) struct RedisConnectionTests {
  /// A loop with one connection.
  private static func withConnection(
    _ url: String, limits: RedisConfiguration.Limits = RedisConfiguration.Limits(),
    _ body: @escaping @Sendable (RedisConnection) async throws -> Void
  ) async throws {
    var configuration = RedisConfiguration(url: try RedisURL(url))
    configuration.limits = limits
    let connector = try RedisConnector(configuration)
    let loops = LoopGroup(count: 1)
    let result = await Task(executorPreference: loops.loops[0]) { [loops] in
      let connection = try await connector.attempt(on: loops.loops[0]).run()
      defer { connection.close() }
      try await body(connection)
    }.result
    await loops.stop()
    try result.get()
  }

  /// Why there is no connection.
  private static func failure(
    _ url: String, limits: RedisConfiguration.Limits = RedisConfiguration.Limits()
  ) async -> RedisError? {
    do {
      try await withConnection(url, limits: limits) { _ in }
      return nil
    } catch {
      return error as? RedisError
    }
  }

  @Test func asksAndIsAnsweredInOrder() async throws {
    let server = try await PrivateRedis.shared.value
    let database = await server.nextDatabase()
    try await Self.withConnection("\(server.url)/\(database)") { connection in
      let replies = try await connection.ask([
        RedisCommand("SET", "k", "v"), RedisCommand("GET", "k"), RedisCommand("INCR", "k"),
        RedisCommand("MGET", "k", "missing"),
      ])
      #expect(replies[1] == .bytes(Array("v".utf8)))
      guard case .error = replies[2] else { throw Unexpected() }
      #expect(replies[3] == .array([.bytes(Array("v".utf8)), .null]))
      // In the database of the address.
      let information = try await connection.ask(RedisCommand("INFO", "keyspace")).text ?? ""
      #expect(information.contains("db\(database):"))
      let name = try await connection.ask(RedisCommand("CLIENT", "GETNAME"))
      #expect(name.text == "keelson-cache")
    }
  }

  /// Commands of one turn leave in one write: Redis reads them together.
  @Test func commandsOfOneTurnAreOneWrite() async throws {
    let server = try PrivateRedis()
    try await Self.withConnection(server.url) { connection in
      func reads() async throws -> Int {
        let text = try await connection.ask(RedisCommand("INFO", "stats")).text ?? ""
        let field = text.firstRange(of: "total_reads_processed:")
        return field.flatMap { Int(text[$0.upperBound...].prefix { $0.isNumber }) } ?? 0
      }
      let before = try await reads()
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<500 {
          group.addTask(executorPreference: connection.loop) {
            let reply = try? await connection.ask(RedisCommand("ECHO", "\(number)"))
            #expect(reply?.number == Int64(number))
          }
        }
      }
      #expect(try await reads() - before <= 5)
    }
    await server.stop()
  }

  @Test func largeValuesComeAndGo() async throws {
    let server = try await PrivateRedis.shared.value
    let database = await server.nextDatabase()
    // By name.
    let url = "redis://localhost:\(server.port)/\(database)"
    try await Self.withConnection(url) { connection in
      let value = String(repeating: "0123456789abcdef", count: 500_000)
      let replies = try await connection.ask(
        [RedisCommand("SET", "large", value), RedisCommand("GET", "large")],
        timeout: .seconds(10))
      #expect(replies[1].text == value)
    }
  }

  @Test func whoIsAnsweredTooLateDisturbsNobody() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.commandTimeout = .milliseconds(20)
    limits.stallTimeout = .seconds(30)
    try await Self.withConnection(server.url, limits: limits) { connection in
      try await server.pause()
      let error = await #expect(throws: RedisError.self) {
        try await connection.ask(RedisCommand("ECHO", "late"))
      }
      #expect(error?.code == .timedOut)
      #expect(error?.message.contains("redis-timeout") == true)
      try await server.resume()
      let reply = try await connection.ask(RedisCommand("ECHO", "next"), timeout: .seconds(10))
      #expect(reply.text == "next")
    }
    await server.stop()
  }

  @Test func aConnectionThatDoesNotAnswerIsGivenUp() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.commandTimeout = .milliseconds(10)
    limits.stallTimeout = .milliseconds(50)
    try await Self.withConnection(server.url, limits: limits) { connection in
      try await server.pause()
      var codes: [RedisError.Code] = []
      while connection.isOpen {
        do {
          _ = try await connection.ask(RedisCommand("PING"))
        } catch let error as RedisError { codes.append(error.code) }
      }
      // The first may be late enough on a busy machine.
      #expect(codes.last == .unreachable && codes.dropLast().allSatisfy { $0 == .timedOut })
      try await server.resume()
    }
    await server.stop()
  }

  @Test func aConnectionThatIsCutFailsWhoWaits() async throws {
    let server = try PrivateRedis()
    try await Self.withConnection(server.url) { connection in
      try await server.pause()
      let waiting = Task(executorPreference: connection.loop) {
        try await connection.ask(RedisCommand("PING"), timeout: .seconds(10))
      }
      try await server.kill()
      let error = await #expect(throws: RedisError.self) { try await waiting.value }
      #expect(error?.code == .unreachable)
      let next = await #expect(throws: RedisError.self) {
        try await connection.ask(RedisCommand("PING"))
      }
      #expect(next?.code == .unreachable)
    }
    await server.stop()
  }

  @Test func moreThanMayWaitIsRefused() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.queuedCommands = 3
    limits.queuedBytes = 1_000
    try await Self.withConnection(server.url, limits: limits) { connection in
      let error = await #expect(throws: RedisError.self) {
        try await connection.ask([RedisCommand](repeating: RedisCommand("PING"), count: 4))
      }
      #expect(error?.code == .overloaded)
      #expect(error?.message.contains("redis-queued-commands") == true)
      let large = await #expect(throws: RedisError.self) {
        try await connection.ask(RedisCommand("ECHO", String(repeating: "x", count: 1_000)))
      }
      #expect(large?.message.contains("redis-queued-bytes") == true)
      let after = try await connection.ask(RedisCommand("PING"))
      #expect(after.text == "PONG")
    }
    await server.stop()
  }

  @Test func nobodyThereIsSaidSo() async throws {
    let port = try ReservedPort()
    defer { port.close() }
    let error = await Self.failure("redis://127.0.0.1:\(port.port)")
    #expect(error?.code == .unreachable)
    #expect(error?.message.contains("connection refused") == true, "\(error?.message ?? "")")
  }

  @Test func whoSaysNothingIsGivenUp() async throws {
    let listener = try SilentListener()
    defer { listener.close() }
    var limits = RedisConfiguration.Limits()
    limits.connectTimeout = .milliseconds(50)
    let error = await Self.failure("redis://127.0.0.1:\(listener.port)", limits: limits)
    #expect(error?.code == .timedOut)
  }

  @Test func loginsAreChecked() async throws {
    let server = try PrivateRedis(settings: ["--requirepass s3cret"])
    let place = "127.0.0.1:\(server.port)"
    let none = await Self.failure("redis://\(place)")
    #expect(none?.code == .refused)
    #expect(none?.message.contains("wants a password") == true)
    let wrong = await Self.failure("redis://:hunter2@\(place)")
    #expect(wrong?.code == .refused)
    #expect(wrong?.message.contains("does not take the user and the password") == true)
    #expect(wrong?.message.contains("hunter2") == false)
    #expect(await Self.failure("redis://:s3cret@\(place)") == nil)
    #expect(await Self.failure("redis://default:s3cret@\(place)") == nil)
    let database = await Self.failure("redis://:s3cret@\(place)/99")
    #expect(database?.message.contains("has no database 99") == true)
    await server.stop()
  }

  @Test func aClusterIsRefused() async throws {
    let server = try PrivateRedis(settings: ["--cluster-enabled yes"])
    let error = await Self.failure(server.url)
    #expect(error?.code == .refused)
    #expect(error?.message.contains("Redis Cluster, which is not supported") == true)
    await server.stop()
  }

  @Test func aReplicaIsNotUsed() async throws {
    let server = try PrivateRedis(settings: ["--replicaof 127.0.0.1 1"])
    let error = await Self.failure(server.url)
    #expect(error?.code == .unreachable)
    #expect(error?.message.contains("is a replica") == true)
    await server.stop()
  }

  private struct Unexpected: Error {}
}
