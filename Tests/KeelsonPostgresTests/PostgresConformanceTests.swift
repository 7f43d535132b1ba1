import KeelsonCore
import KeelsonPostgres
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// A database of its own on the tests' PostgreSQL, and loops to read on.
final class PostgresStorage: DatabaseStorage {
  let server: PrivatePostgres
  let name: String
  let loops: LoopGroup
  let limits: PostgresConfiguration.Limits

  init(
    on server: PrivatePostgres? = nil, loops: Int = 2,
    limits: PostgresConfiguration.Limits = PostgresConfiguration.Limits()
  ) async throws {
    if let server {
      self.server = server
    } else {
      self.server = try await PrivatePostgres.shared.value
    }
    name = try await self.server.createDatabase()
    self.loops = LoopGroup(count: loops)
    self.limits = limits
  }

  var url: String { server.url(name) }

  func open() async throws -> any Database { try await openPostgres() }

  func openPostgres() async throws -> PostgresDatabase {
    var configuration = PostgresConfiguration(url: url)
    configuration.limits = limits
    return try await PostgresDatabase.open(configuration, loops: loops, logger: .silent)
  }

  /// Runs a body with a database that has been opened, and closes it.
  static func run(
    on server: PrivatePostgres? = nil,
    limits: PostgresConfiguration.Limits = PostgresConfiguration.Limits(),
    _ body: (PostgresDatabase, PostgresStorage) async throws -> Void
  ) async throws {
    let storage = try await PostgresStorage(on: server, limits: limits)
    let database = try await storage.openPostgres()
    do {
      try await database.migrate([])
      try await body(database, storage)
    } catch {
      await database.close()
      await storage.loops.stop()
      throw error
    }
    await database.close()
    await storage.loops.stop()
  }
}

@Suite(.timeLimit(.minutes(2))) struct PostgresConformanceTests {
  @Test(arguments: DatabaseConformance.cases)
  func conforms(_ conformance: DatabaseConformance) async throws {
    let storage = try await PostgresStorage()
    do {
      try await conformance.check(storage)
    } catch {
      await storage.loops.stop()
      throw error
    }
    await storage.loops.stop()
  }

  @Test("a database closed while it connects leaves nothing on the loops, which end")
  func closesWhileItConnects() async throws {
    for _ in 0..<20 {
      let storage = try await PostgresStorage(loops: 2)
      let database = try await storage.openPostgres()
      // The first read of a loop makes its first connection there.
      await withTaskGroup(of: Void.self) { group in
        for loop in storage.loops.loops {
          group.addTask(executorPreference: loop) {
            _ = try? await database.read { try await $0.query("SELECT 1") }
          }
        }
        for loop in storage.loops.loops {
          // Behind the read, which waits for its connection by then.
          let isBehind = Signal<Void>()
          loop.execute { isBehind.send() }
          await isBehind.wait()
        }
        group.cancelAll()
      }
      await database.close()
      await storage.loops.stop()
    }
  }
}
