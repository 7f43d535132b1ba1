package import KeelsonCore

/// Says whether the database answers a query, lets a write begin, and whether the disk takes
/// changes.
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
      // Takes the write lock and changes nothing, so it costs no flush to the disk. A disk
      // that is full does not show here; the engine remembers that.
      try await database.write { _ in }
    } catch let error as StoreError where error.code == .full || error.code == .io {
      // It shared a commit with changes that the disk refused.
      return Self.outcome(of: error.code)
    } catch {
      throw RPCError(.unavailable, "The database does not accept writes.", cause: "\(error)")
    }
    return database.writeFailure.map { Self.outcome(of: $0.code) } ?? .healthy
  }

  private static func outcome(of failure: StoreError.Code) -> HealthOutcome {
    .degraded(
      reason: failure == .full
        ? "The disk is full: changes are refused; reading works."
        : "The disk fails: changes are refused; reading works.")
  }
}
