import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import Testing

@Suite struct ObserverLifeTests {
  private final class Owner: Sendable {
    let database: any Database

    init(_ database: any Database) {
      self.database = database
    }

    func observe() {
      database.feed.observe { [self] _ in withExtendedLifetime(self) {} }
    }
  }

  @Test func aClosedDatabaseLetsGoOfWhoeverObservedIt() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let database = try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))
    try await database.migrate([])
    weak let owner: Owner? = {
      let owner = Owner(database)
      owner.observe()
      return owner
    }()
    #expect(owner != nil)
    await database.close()
    #expect(owner == nil)
  }
}
