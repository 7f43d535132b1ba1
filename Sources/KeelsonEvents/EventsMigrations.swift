package import KeelsonStore

/// What the events service adds to the store's table of events: ways to find them, and how long
/// they are kept.
package enum EventsMigrations {
  package static let all = MigrationSet(
    "events",
    [
      Migration(1, "indexes of events, their retention") { dialect in
        let integer = dialect.integerType
        let suffix = dialect.tableSuffix
        return [
          "CREATE INDEX events_by_type ON events (type, revision)",
          "CREATE INDEX events_by_subject ON events (subject, revision)",
          "CREATE INDEX events_by_actor ON events (actor, revision)",
          "CREATE INDEX events_by_correlation_id ON events (correlation_id, revision)",
          "CREATE INDEX events_by_time ON events (time, revision)",
          """
          CREATE TABLE event_retention (
            id \(integer) NOT NULL PRIMARY KEY CHECK (id = 1),
            revision \(integer) NOT NULL,
            body \(dialect.blobType) NOT NULL
          )\(suffix)
          """,
          """
          CREATE TABLE event_compaction (
            id \(integer) NOT NULL PRIMARY KEY CHECK (id = 1),
            holder TEXT NOT NULL,
            held_until \(integer) NOT NULL
          )\(suffix)
          """,
          "INSERT INTO event_compaction (id, holder, held_until) VALUES (1, '', 0)",
        ]
      }
    ])
}
