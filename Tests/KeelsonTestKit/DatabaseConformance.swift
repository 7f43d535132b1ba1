package import KeelsonStore
import Testing

/// A place where a database under test lives, empty at first.
package protocol DatabaseStorage: Sendable {
  /// Opens the database; an earlier one has been closed.
  func open() async throws -> any Database
}

/// The contract of ``Database``, as cases that every engine runs.
package struct DatabaseConformance: Sendable, CustomTestStringConvertible {
  package let testDescription: String
  package let check: @Sendable (any DatabaseStorage) async throws -> Void

  init(
    _ description: String, _ check: @escaping @Sendable (any DatabaseStorage) async throws -> Void
  ) {
    testDescription = description
    self.check = check
  }

  /// A case that wants one database with the table ``Things``.
  init(
    things description: String, _ check: @escaping @Sendable (any Database) async throws -> Void
  ) {
    self.init(description) { storage in
      let database = try await storage.open()
      do {
        try await database.migrate([Things.set])
        try await check(database)
      } catch {
        await database.close()
        throw error
      }
      await database.close()
    }
  }

  package static let cases =
    transactions + values + cancellation + migrations + changes + appendOnly + audit + feed
}

/// The table that the cases use.
enum Things {
  static let set = MigrationSet("things", [create])

  static let create = Migration(1, "things") { dialect in
    [
      """
      CREATE TABLE things (
        key TEXT PRIMARY KEY,
        number \(dialect.integerType),
        ratio \(dialect.realType),
        note TEXT,
        bytes \(dialect.blobType)
      )\(dialect.tableSuffix)
      """
    ]
  }

  static func insert(_ key: String, number: Int = 0, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "INSERT INTO things (key, number) VALUES ($1, $2)", [.text(key), SQLValue(number)])
  }

  static func keys(in database: any Database) async throws -> [String] {
    try await database.read { transaction in
      try await transaction.query("SELECT key FROM things ORDER BY key").map { try $0.get(0) }
    }
  }
}

/// An error that a body throws on purpose.
struct Deliberate: Error, Equatable {}

/// The code of the store's error that a piece of work throws; nil when it throws none.
func storeErrorCode(_ work: () async throws -> Void) async throws -> StoreError.Code? {
  do {
    try await work()
    return nil
  } catch let error as StoreError {
    return error.code
  }
}
