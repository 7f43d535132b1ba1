package import KeelsonStore

/// The tables of the flags service.
///
/// A flag, segment or set is stored as its encoded message (`body`); the columns beside it are
/// what is searched, sorted or kept unique.
package enum FlagsMigrations {
  package static let all = MigrationSet(
    "flags",
    [
      Migration(1, "flags, segments, sets and history") { dialect in
        let integer = dialect.integerType
        let blob = dialect.blobType
        let suffix = dialect.tableSuffix
        return [
          """
          CREATE TABLE flag_sets (
            key TEXT NOT NULL PRIMARY KEY,
            revision \(integer) NOT NULL,
            body \(blob) NOT NULL
          )\(suffix)
          """,
          """
          CREATE TABLE flags (
            flag_set TEXT NOT NULL REFERENCES flag_sets (key),
            key TEXT NOT NULL,
            type \(integer) NOT NULL,
            owner TEXT NOT NULL,
            search TEXT NOT NULL,
            archived \(integer) NOT NULL,
            revision \(integer) NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (flag_set, key)
          )\(suffix)
          """,
          """
          CREATE TABLE flag_tags (
            flag_set TEXT NOT NULL,
            tag TEXT NOT NULL,
            key TEXT NOT NULL,
            PRIMARY KEY (flag_set, tag, key),
            FOREIGN KEY (flag_set, key) REFERENCES flags (flag_set, key)
          )\(suffix)
          """,
          "CREATE INDEX flag_tags_by_flag ON flag_tags (flag_set, key)",
          """
          CREATE TABLE flag_segments (
            flag_set TEXT NOT NULL REFERENCES flag_sets (key),
            key TEXT NOT NULL,
            revision \(integer) NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (flag_set, key)
          )\(suffix)
          """,
          """
          CREATE TABLE flag_history (
            flag_set TEXT NOT NULL,
            key TEXT NOT NULL,
            revision \(integer) NOT NULL,
            time \(integer) NOT NULL,
            action TEXT NOT NULL,
            actor TEXT NOT NULL,
            correlation_id TEXT NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (flag_set, key, revision)
          )\(suffix)
          """,
        ]
      }
    ])
}
