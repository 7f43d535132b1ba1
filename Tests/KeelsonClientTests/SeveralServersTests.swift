import Foundation
import KeelsonClient
import KeelsonTestKit
import Synchronization
import Testing

/// The client with several servers, real ones: none of its calls is lost while they come and go.
@Suite("The client with several servers", .timeLimit(.minutes(3)))
struct SeveralServersTests {
  private static let restarts = 6

  private func withDataFolders(_ count: Int, _ body: ([URL]) async throws -> Void) async throws {
    let folders = (0..<count).map { _ in
      FileManager.default.temporaryDirectory
        .appending(path: "keelson-client-tests-\(UUID().uuidString)")
    }
    for folder in folders {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }
    defer { for folder in folders { try? FileManager.default.removeItem(at: folder) } }
    try await body(folders)
  }

  /// How many calls of the load were answered, and why others were not.
  private final class Tally: Sendable {
    let answered = Atomic(0)
    let failures = Mutex<[String]>([])
    /// How long the server that answered last had been running when it did.
    let uptime = Mutex(Duration.seconds(3_600))

    func count(_ call: () async throws -> Void) async {
      do {
        try await call()
        answered.wrappingAdd(1, ordering: .relaxed)
      } catch {
        failures.withLock { $0.append("\(error)") }
      }
    }
  }

  /// Reads, and changes: those are repeated only if no server has seen them.
  private func load(
    _ client: KeelsonClient, environment: String, _ tally: Tally,
    until isOver: borrowing Atomic<Bool>
  ) async {
    while !isOver.load(ordering: .relaxed) {
      await tally.count {
        let health = try await client.health.getHealth()
        tally.uptime.withLock { $0 = health.uptime?.clampedDuration ?? $0 }
      }
      await tally.count {
        _ = try await client.admin.flags.toggleFlag(
          .init(key: "a", environment: environment, enabled: true))
      }
    }
  }

  @Test("a rolling restart under load loses no call")
  func rollingRestart() async throws {
    try await withDataFolders(2) { folders in
      var servers: [KeelsonProcess] = []
      for folder in folders { servers.append(try await KeelsonProcess.start(data: folder)) }
      var environment = ""
      for server in servers {
        var configuration = KeelsonClient.Configuration(server: server.address)
        configuration.subscribesToFlags = false
        let client = try KeelsonClient(configuration)
        environment = try await client.health.getHealth().environment
        _ = try await client.admin.flags.createFlag(.init(flag: .init(key: "a", type: .boolean)))
        await client.shutdown()
      }
      var configuration = KeelsonClient.Configuration(
        server: servers.map(\.address).joined(separator: ","))
      configuration.subscribesToFlags = false
      configuration.loadBalancing = .roundRobin
      configuration.connectionBackoff = .init(
        initial: .milliseconds(20), maximum: .milliseconds(100))
      let client = try KeelsonClient(configuration)
      let tally = Tally()
      let isOver = Flag()
      let workers = Task { [environment] in
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<8 {
            group.addTask {
              await load(client, environment: environment, tally, until: isOver.value)
            }
          }
        }
      }
      for restart in 0..<Self.restarts {
        await untilAnswered(200, more: tally)
        let number = restart % 2
        let address = servers[number].address
        #expect(await servers[number].stop() == 0)
        let start = ContinuousClock.now
        servers[number] = try await KeelsonProcess.start(data: folders[number], listen: address)
        // The other one goes when this one has calls again: a roll-out waits for that as well.
        while tally.uptime.withLock({ $0 }) > start.duration(to: .now) { await Task.yield() }
      }
      await untilAnswered(200, more: tally)
      isOver.value.store(true, ordering: .relaxed)
      await workers.value
      let answered = tally.answered.load(ordering: .relaxed)
      let failures = tally.failures.withLock { $0 }
      let figure =
        "\(Self.restarts) restarts under load: \(failures.count) calls failed of "
        + "\(answered + failures.count)\n"
      FileHandle.standardOutput.write(Data(figure.utf8))
      #expect(failures == [])
      await client.shutdown()
      for server in servers { #expect(await server.stop() == 0) }
    }
  }

  private final class Flag: Sendable {
    let value = Atomic(false)
  }

  private func untilAnswered(_ count: Int, more tally: Tally) async {
    let goal = tally.answered.load(ordering: .relaxed) + count
    while tally.answered.load(ordering: .relaxed) < goal,
      tally.failures.withLock({ $0.isEmpty })
    {
      await Task.yield()
    }
  }

  @Test("the flag subscription goes on at another address when the one it has falls silent")
  func subscriptionFailsOver() async throws {
    try await withDataFolders(1) { folders in
      // One server behind two addresses, so that what is lost is the way and not the data.
      let server = try await KeelsonProcess.start(data: folders[0])
      let port = try #require(UInt16(server.address.split(separator: ":")[1]))
      let relay = try Relay(to: port)
      var configuration = KeelsonClient.Configuration(
        server: "\(relay.address),\(server.address)")
      configuration.keepalive = .init(interval: .seconds(1), timeout: .seconds(1))
      let client = try KeelsonClient(configuration)
      try await client.flags.waitUntilReady(timeout: .seconds(30))
      let changes = client.flags.changes
      relay.swallow()
      let other = try await KeelsonClient.connect(to: server.address)
      _ = try await other.admin.flags.createFlag(.init(flag: .init(key: "b", type: .boolean)))
      for await change in changes where change.concerns("b") { break }
      // On a busy machine the other connection may be given up as well for a moment.
      while client.flags.state != .current { await Task.yield() }
      await other.shutdown()
      await client.shutdown()
      relay.close()
      #expect(await server.stop() == 0)
    }
  }
}
