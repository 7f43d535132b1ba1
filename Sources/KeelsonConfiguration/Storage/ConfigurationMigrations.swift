package import KeelsonStore

/// The tables of settings, their history, snapshots, schemas and data keys.
package enum ConfigurationMigrations {
  package static let all = MigrationSet(
    "configuration",
    [
      Migration(1, "settings, history, snapshots, schemas and data keys") { dialect in
        let integer = dialect.integerType
        let blob = dialect.blobType
        let suffix = dialect.tableSuffix
        return [
          """
          CREATE TABLE configuration_applications (
            application TEXT PRIMARY KEY,
            schema_revision \(integer) NOT NULL,
            body \(blob) NOT NULL
          )\(suffix)
          """,
          """
          CREATE TABLE configuration_environments (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            revision \(integer) NOT NULL,
            settings \(integer) NOT NULL,
            bytes \(integer) NOT NULL,
            history \(integer) NOT NULL,
            history_floor \(integer) NOT NULL,
            PRIMARY KEY (application, environment)
          )\(suffix)
          """,
          """
          CREATE TABLE configuration_settings (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            key TEXT NOT NULL,
            data_key \(integer) NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (application, environment, key)
          )\(suffix)
          """,
          """
          CREATE TABLE configuration_history (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            revision \(integer) NOT NULL,
            key TEXT NOT NULL,
            time \(integer) NOT NULL,
            action TEXT NOT NULL,
            actor TEXT NOT NULL,
            correlation_id TEXT NOT NULL,
            data_key \(integer) NOT NULL,
            before_value \(blob),
            after_value \(blob),
            PRIMARY KEY (application, environment, revision, key)
          )\(suffix)
          """,
          """
          CREATE INDEX configuration_history_key
          ON configuration_history (application, environment, key, revision)
          """,
          """
          CREATE TABLE configuration_snapshots (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            name TEXT NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (application, environment, name)
          )\(suffix)
          """,
          """
          CREATE TABLE configuration_snapshot_settings (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            name TEXT NOT NULL,
            key TEXT NOT NULL,
            data_key \(integer) NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (application, environment, name, key)
          )\(suffix)
          """,
          """
          CREATE TABLE configuration_data_keys (
            application TEXT NOT NULL,
            environment TEXT NOT NULL,
            number \(integer) NOT NULL,
            time \(integer) NOT NULL,
            wrapping_key TEXT NOT NULL,
            wrapped \(blob) NOT NULL,
            PRIMARY KEY (application, environment, number)
          )\(suffix)
          """,
        ]
      }
    ])
}
