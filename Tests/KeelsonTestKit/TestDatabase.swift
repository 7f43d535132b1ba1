import Foundation
import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
package import KeelsonStore
import KeelsonTransport
import Testing

/// The engines that a service's tests run on.
package enum TestEngine: Sendable, CaseIterable, CustomTestStringConvertible {
  case sqlite, postgres

  package var testDescription: String { self == .sqlite ? "on SQLite" : "on PostgreSQL" }
}

/// An empty database of either engine, for one test.
package final class TestDatabase: Sendable {
  package let database: any Database
  private let folder: String?
  private let loops: LoopGroup?

  package init(_ engine: TestEngine) async throws {
    switch engine {
    case .sqlite:
      let folder = NSTemporaryDirectory() + "keelson-test-" + UUID().uuidString
      database = try SQLiteDatabase(SQLiteConfiguration(folder: folder))
      self.folder = folder
      loops = nil
    case .postgres:
      let server = try await PrivatePostgres.shared.value
      let url = server.url(try await server.createDatabase())
      let loops = LoopGroup(count: 1)
      database = try await PostgresDatabase.open(
        PostgresConfiguration(url: url), loops: loops, logger: .silent)
      self.loops = loops
      folder = nil
    }
  }

  /// Closes the database and removes it.
  package func remove() async {
    await database.close()
    await loops?.stop()
    if let folder { try? FileManager.default.removeItem(atPath: folder) }
  }

  /// Runs a body on one database of each engine after the other.
  package static func onEachEngine(
    _ body: (TestDatabase) async throws -> Void
  ) async throws {
    for engine in TestEngine.allCases {
      let made = try await TestDatabase(engine)
      do {
        try await body(made)
      } catch {
        await made.remove()
        throw error
      }
      await made.remove()
    }
  }
}
