import Foundation
import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
package import KeelsonStore
import KeelsonTransport
import Synchronization
import Testing

/// The engines that a service's tests run on.
package enum TestEngine: Sendable, CaseIterable, CustomTestStringConvertible {
  case sqlite, postgres

  package var testDescription: String { self == .sqlite ? "on SQLite" : "on PostgreSQL" }
}

/// An empty database of either engine, for one test.
package final class TestDatabase: Sendable {
  private enum Place: Sendable {
    case folder(String)
    case server(url: String, LoopGroup)

    func open() async throws -> any Database {
      switch self {
      case .folder(let folder): try SQLiteDatabase(SQLiteConfiguration(folder: folder))
      case .server(let url, let loops):
        try await PostgresDatabase.open(
          PostgresConfiguration(url: url), loops: loops, logger: .silent)
      }
    }
  }

  private let place: Place
  private let opened: Mutex<any Database>

  package init(_ engine: TestEngine) async throws {
    switch engine {
    case .sqlite:
      place = .folder(NSTemporaryDirectory() + "keelson-test-" + UUID().uuidString)
    case .postgres:
      let server = try await PrivatePostgres.shared.value
      let url = server.url(try await server.createDatabase())
      place = .server(url: url, LoopGroup(count: 1))
    }
    opened = Mutex(try await place.open())
  }

  package var database: any Database { opened.withLock { $0 } }

  /// Closes the database and opens it again, as a restart of the server does.
  package func reopen() async throws {
    await database.close()
    let database = try await place.open()
    opened.withLock { $0 = database }
  }

  /// Closes the database and removes it.
  package func remove() async {
    await database.close()
    switch place {
    case .folder(let folder): try? FileManager.default.removeItem(atPath: folder)
    case .server(_, let loops): await loops.stop()
    }
  }

  /// Where an embedded database lies; nil for one on a server, which it shares with others.
  package var folder: String? {
    if case .folder(let folder) = place { return folder }
    return nil
  }

  /// Runs a body on one database of each engine after the other.
  package static func onEachEngine(
    _ body: (TestDatabase) async throws -> Void
  ) async throws {
    for engine in TestEngine.allCases { try await on(engine, body) }
  }

  /// Runs a body on a database of one engine.
  package static func on(
    _ engine: TestEngine, _ body: (TestDatabase) async throws -> Void
  ) async throws {
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
