package import KeelsonCore

/// Says whether the database answers a query and lets a write begin.
package struct DatabaseHealthCheck: HealthCheck {
  package let name = "database"
  package let isEssential = true
  private let database: any Database

  package init(_ database: any Database) {
    self.database = database
  }

  package func check() async throws -> HealthOutcome {
    do {
      _ = try await database.read { try await $0.query("SELECT 1") }
    } catch {
      throw RPCError(.unavailable, "The database does not answer queries.", cause: "\(error)")
    }
    do {
      // Takes the write lock and changes nothing, so it costs no flush to the disk.
      try await database.write { _ in }
    } catch {
      throw RPCError(.unavailable, "The database does not accept writes.", cause: "\(error)")
    }
    return .healthy
  }
}
