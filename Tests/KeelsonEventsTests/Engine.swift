import Foundation
import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// What the data is kept in: every test of the service runs on both.
enum Engine: String, CaseIterable, CustomTestStringConvertible {
  case sqlite, postgreSQL

  var testDescription: String { rawValue }

  /// Runs a body with an empty database.
  func withDatabase(_ body: (any Database) async throws -> Void) async throws {
    switch self {
    case .sqlite:
      let folder = NSTemporaryDirectory() + "keelson-events-" + UUID().uuidString
      defer { try? FileManager.default.removeItem(atPath: folder) }
      try await closing(SQLiteDatabase(SQLiteConfiguration(folder: folder)), body)
    case .postgreSQL:
      let server = try await PrivatePostgres.shared.value
      let configuration = PostgresConfiguration(url: server.url(try await server.createDatabase()))
      let loops = LoopGroup(count: 2)
      do {
        try await closing(
          PostgresDatabase.open(configuration, loops: loops, logger: .silent), body)
      } catch {
        await loops.stop()
        throw error
      }
      await loops.stop()
    }
  }

  private func closing(
    _ database: any Database, _ body: (any Database) async throws -> Void
  ) async throws {
    do {
      try await body(database)
    } catch {
      await database.close()
      throw error
    }
    await database.close()
  }
}
