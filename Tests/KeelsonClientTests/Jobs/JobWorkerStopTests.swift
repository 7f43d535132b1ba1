import Foundation
import KeelsonClient
import KeelsonTestKit
import Testing

/// How a `JobWorker` stops when its server is not there.
@Suite(.timeLimit(.minutes(5))) struct JobWorkerStopTests {
  private func client(_ address: String) throws -> KeelsonClient {
    var configuration = KeelsonClient.Configuration(server: address)
    configuration.subscribesToFlags = false
    return try KeelsonClient(configuration)
  }

  @Test func itStopsAtOnceWithoutAServer() async throws {
    let nobody = try ReservedPort()
    defer { nobody.close() }
    let client = try client(nobody.address)
    let interrupted = Signal<Void>()
    // The pause before the next attempt grows to ten seconds, and is not waited for.
    let worker = JobWorker(
      client, drainTimeout: .seconds(600), observer: .init(interrupted: { _ in interrupted.send() })
    )
    worker.handle("test") { _, _ in nil }
    let running = Task { try await worker.run() }
    await interrupted.wait()
    worker.stop()
    try await running.value
    await client.shutdown()
  }

  @Test func itGivesUpWhatItsServerCannotHear() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: folder) }
    let server = try await KeelsonProcess.start(data: folder)
    let client = try client(server.address)
    let began = Signal<Void>()
    let worker = JobWorker(
      client, drainTimeout: .milliseconds(50), farewellTimeout: .milliseconds(50),
      observer: .init(began: { _ in began.send() }))
    let door = Gate()
    // It does not break off, whatever it is told.
    worker.handle("test") { _, _ in
      await door.wait()
      return nil
    }
    let running = Task { try await worker.run() }
    try await client.jobs.create("test", ["a": 1])
    await began.wait()
    await server.crash()
    worker.stop()
    let error = await #expect(throws: RPCError.self) { try await running.value }
    #expect(error?.code == .deadlineExceeded)
    #expect(error?.message.contains("a job: they run again when their leases are over") == true)
    door.open()
    await client.shutdown()
  }
}
