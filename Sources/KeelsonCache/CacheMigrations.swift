package import KeelsonStore

/// The tables of the cache service: of the cache itself there are none.
///
/// A warm set is stored as its encoded message, its entries apart from the rest (`body`), since
/// lists do not show them.
package enum CacheMigrations {
  package static let all = MigrationSet(
    "cache",
    [
      Migration(1, "warm sets") { dialect in
        [
          """
          CREATE TABLE cache_warm_sets (
            name TEXT NOT NULL PRIMARY KEY,
            on_start \(dialect.integerType) NOT NULL,
            revision \(dialect.integerType) NOT NULL,
            body \(dialect.blobType) NOT NULL,
            entries \(dialect.blobType) NOT NULL
          )\(dialect.tableSuffix)
          """
        ]
      }
    ])
}
