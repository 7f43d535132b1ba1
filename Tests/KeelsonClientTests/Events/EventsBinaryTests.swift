import Foundation
import KeelsonClient
import Testing

/// Events through the client library from the real server, as its users have them.
@Suite("Events from the real server", .timeLimit(.minutes(2)))
struct EventsBinaryTests {
  @Test("none is lost or repeated when the server is killed and started again")
  func recovers() async throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "keelson-client-events-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let first = try await KeelsonProcess.start(data: folder)
    var configuration = KeelsonClient.Configuration(server: first.address)
    configuration.connectionBackoff.initial = .milliseconds(50)
    configuration.subscribesToFlags = false
    let client = try KeelsonClient(configuration)

    var events = client.events.subscribe(
      types: ["keelson.flags.FeatureFlagCreated"], from: .oldest
    ).makeAsyncIterator()
    for key in ["a", "b"] {
      _ = try await client.admin.flags.createFlag(.init(flag: .init(key: key)))
    }
    #expect(try await events.next()?.subject == "default/a")
    #expect(try await events.next()?.subject == "default/b")

    await first.crash()
    let second = try await KeelsonProcess.start(data: folder, listen: first.address)
    let other = try await KeelsonClient.connect(to: second.address)
    _ = try await other.admin.flags.createFlag(.init(flag: .init(key: "c")))
    let event = try #require(try await events.next())
    #expect(event.subject == "default/c")

    let page = try await other.events.list(
      EventQuery(types: ["keelson.flags.FeatureFlagCreated"], pageSize: 2))
    #expect(page.events.map(\.subject) == ["default/c", "default/b"])
    let next = try await other.events.list(
      EventQuery(types: ["keelson.flags.FeatureFlagCreated"], pageSize: 2), page: page.next)
    #expect(next.events.map(\.subject) == ["default/a"])
    let revision = try #require(event.revision)
    #expect(try await other.events.get(revision).id == event.id)
    #expect(try await other.events.types().contains { $0.name == event.type })

    await other.shutdown()
    await client.shutdown()
    #expect(await second.stop() == 0)
  }
}
