import Foundation
import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import Testing

/// A folder that is there for one test.
struct TemporaryFolder: DatabaseStorage {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "keelson-store-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  func open() async throws -> any Database {
    try SQLiteDatabase(SQLiteConfiguration(folder: path))
  }

  func remove() {
    try? FileManager.default.removeItem(atPath: path)
  }
}

@Suite(.timeLimit(.minutes(5))) struct SQLiteConformanceTests {
  @Test(arguments: DatabaseConformance.cases)
  func conforms(_ conformance: DatabaseConformance) async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    try await conformance.check(folder)
  }
}
