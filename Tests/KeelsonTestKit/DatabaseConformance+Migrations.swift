import KeelsonStore
import Testing

extension DatabaseConformance {
  static let migrations = [
    DatabaseConformance("migrations run once and grow") { storage in
      let first = MigrationSet("room", [Migration(1, "a", ["CREATE TABLE a (id TEXT)"])])
      let second = MigrationSet(
        "room", first.migrations + [Migration(2, "b", ["INSERT INTO a VALUES ('once')"])])
      for sets in [[first], [first], [second], [second, Things.set], [second, Things.set]] {
        let database = try await storage.open()
        try await database.migrate(sets)
        await database.close()
      }
      let database = try await storage.open()
      let rows = try await database.read { try await $0.query("SELECT id FROM a") }
      #expect(rows.count == 1)
      await database.close()
    },

    DatabaseConformance("a newer database is refused") { storage in
      let one = Migration(1, "a", ["CREATE TABLE a (id TEXT)"])
      let two = Migration(2, "b", ["CREATE TABLE b (id TEXT)"])
      try await migrate(storage, [MigrationSet("room", [one, two]), Things.set])
      let older = try await storeErrorCode {
        try await migrate(storage, [MigrationSet("room", [one]), Things.set])
      }
      #expect(older == .tooNew)
      let withoutRoom = try await storeErrorCode {
        try await migrate(storage, [MigrationSet("room", [one, two])])
      }
      #expect(withoutRoom == .tooNew)
    },

    DatabaseConformance("a changed migration is refused") { storage in
      try await migrate(
        storage, [MigrationSet("room", [Migration(1, "a", ["CREATE TABLE a (id TEXT)"])])])
      let code = try await storeErrorCode {
        try await migrate(
          storage, [MigrationSet("room", [Migration(1, "a", ["CREATE TABLE a (id INTEGER)"])])])
      }
      #expect(code == .schemaMismatch)
    },

    DatabaseConformance("a failing migration leaves nothing behind") { storage in
      let good = Migration(1, "a", ["CREATE TABLE a (id TEXT)"])
      let bad = Migration(2, "b", ["CREATE TABLE b (id TEXT)", "CREATE TABLE b (id TEXT)"])
      await #expect(throws: StoreError.self) {
        try await migrate(storage, [MigrationSet("room", [good, bad])])
      }
      let mended = Migration(2, "b", ["CREATE TABLE b (id TEXT)"])
      try await migrate(storage, [MigrationSet("room", [good, mended])])
    },

    DatabaseConformance("numbers out of order and equal names are refused") { storage in
      let two = Migration(2, "b", [])
      let wrongNumber = try await storeErrorCode {
        try await migrate(storage, [MigrationSet("room", [two])])
      }
      #expect(wrongNumber == .misuse)
      let sameName = try await storeErrorCode {
        try await migrate(storage, [MigrationSet("room", []), MigrationSet("room", [])])
      }
      #expect(sameName == .misuse)
    },
  ]

  private static func migrate(_ storage: any DatabaseStorage, _ sets: [MigrationSet]) async throws {
    let database = try await storage.open()
    do {
      try await database.migrate(sets)
    } catch {
      await database.close()
      throw error
    }
    await database.close()
  }
}
