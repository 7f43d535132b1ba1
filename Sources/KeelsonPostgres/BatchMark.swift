import KeelsonCore
import KeelsonStore

/// Which batch of which writer a transaction commits: a row that goes with it, so that its outcome
/// can be looked up when the answer was lost. The number of a transaction would not do: after a
/// crash the server may give it again to another one.
struct BatchMark: Sendable {
  /// One for each time that a database was opened.
  let writer = UUIDv7.make(at: .now)
  /// The last batch; each has its own number.
  private(set) var batch: Int64 = 0

  static let migrations = MigrationSet(
    "postgres",
    [
      Migration(
        1, "batches of writers",
        ["CREATE TABLE writers (id TEXT PRIMARY KEY, batch BIGINT NOT NULL, time BIGINT NOT NULL)"])
    ])

  /// The statement that goes into the next batch.
  mutating func next() -> SQLStatement {
    batch += 1
    return SQLStatement(
      """
      INSERT INTO writers (id, batch, time) VALUES ($1, $2, $3)
      ON CONFLICT (id) DO UPDATE SET batch = $2, time = $3
      """, [.text(writer), .integer(batch), SQLValue(UnixTime.now)])
  }

  /// Changes a row where the last batch is there. It writes, so that its own commit says that the
  /// batch's is as safe, on standbys as well.
  var lookUp: SQLStatement {
    SQLStatement(
      "UPDATE writers SET time = $3 WHERE id = $1 AND batch = $2",
      [.text(writer), .integer(batch), SQLValue(UnixTime.now)])
  }

  /// Removes the rows of writers that have been gone for a week.
  static var removeOld: SQLStatement {
    SQLStatement(
      "DELETE FROM writers WHERE time < $1",
      [.integer(UnixTime.now.microseconds - 7 * 86_400_000_000)])
  }
}
