package import KeelsonStore

/// The tables of the cache service: of the cache itself there are none.
///
/// A warm set is stored as its encoded message, its entries apart from the rest (`body`), since
/// lists do not show them. So is a run; beside it stands what is asked for: which process loads
/// (`owner`), until when it has to have been heard of (`lease_expire_time`, by the database's clock),
/// and whether somebody has called it off. Ids of runs rise with the time.
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
      },
      Migration(2, "runs of warm sets") { dialect in
        [
          """
          CREATE TABLE cache_warm_runs (
            id TEXT NOT NULL PRIMARY KEY,
            warm_set TEXT NOT NULL,
            owner TEXT NOT NULL,
            is_running \(dialect.integerType) NOT NULL,
            is_cancelled \(dialect.integerType) NOT NULL,
            lease_expire_time \(dialect.integerType) NOT NULL,
            body \(dialect.blobType) NOT NULL
          )\(dialect.tableSuffix)
          """,
          "CREATE INDEX cache_warm_runs_by_set ON cache_warm_runs (warm_set, id)",
          """
          CREATE INDEX cache_warm_runs_leases ON cache_warm_runs (lease_expire_time)
          WHERE is_running = 1
          """,
        ]
      },
    ])
}
