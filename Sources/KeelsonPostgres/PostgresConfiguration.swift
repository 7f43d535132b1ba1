package import KeelsonStore

/// How the PostgreSQL engine is set up.
package struct PostgresConfiguration: Sendable {
  /// Where the database is and who asks: `postgres://user:password@host:port/database?sslmode=...`
  /// or libpq's `keyword=value` pairs. Every parameter that libpq knows is handed to it (libpq,
  /// "Connection Strings").
  package var url: String
  package var limits = Limits()

  package init(url: String) {
    self.url = url
  }

  /// Whether the address can be meant; nobody is connected to.
  ///
  /// - Throws: ``StoreError`` with code misuse; its sentence never holds the password.
  package func check() throws {
    _ = try ConnectionSettings(url: url, connectTimeout: limits.connectTimeout)
  }

  package struct Limits: Sendable {
    /// How many connections read, over all loops. Each loop has its part, at least one.
    package var readConnections = 16
    /// How many writes may wait for their turn; beyond, they fail as overloaded.
    package var waitingWrites = 10_000
    /// How many reads may wait for a connection, over all loops; beyond, they fail as overloaded.
    package var waitingReads = 10_000
    /// How many writes share one commit at most.
    package var writesPerCommit = 128
    /// How long a commit may gather writes before another node gets its turn.
    package var batchTime = Duration.milliseconds(20)
    /// How long making a connection may take, for each address of the server.
    package var connectTimeout = Duration.seconds(5)
    /// How long a statement may run before the server ends it.
    package var statementTimeout = Duration.seconds(30)
    /// How long a transaction may lie idle before the server ends it: what a node that hangs in a
    /// batch keeps the others waiting.
    package var idleTransactionTimeout = Duration.seconds(10)
    /// How long a connection may stay unused before it is closed; one is kept.
    package var idleConnectionTimeout = Duration.seconds(60)
    /// The longest pause between two attempts to connect.
    package var longestRetryDelay = Duration.seconds(2)
    /// How long to look for the outcome of a commit whose answer was lost.
    package var outcomeTimeout = Duration.seconds(10)
    /// How often the tables are looked at when no notification comes.
    package var pollInterval = Duration.seconds(2)
    /// How many prepared statements a connection keeps; the least recently used make room.
    package var preparedStatements = 256

    /// What the change feed keeps in memory.
    package var liveEvents = LiveEvents.Limits()

    package init() {}
  }
}

/// What the engine has done since it was opened, and what it does right now.
package struct PostgresStatistics: Sendable, Hashable {
  /// Commits, each at most one flush of the server's log.
  package var commits = 0
  /// Writes answered by those commits.
  package var writes = 0
  /// The most writes that shared one commit.
  package var largestBatch = 0
  /// Writes that wait for their turn.
  package var waitingWrites = 0
  /// Connections that read and are open, those of them in use, and reads that wait for one.
  package var openConnections = 0
  package var usedConnections = 0
  package var waitingReads = 0
  /// Connections that could not be made or were lost.
  package var connectionFailures = 0
  /// Whether the writer has its connection.
  package var writerIsConnected = false
  /// Whether changes of other nodes are heard of at once.
  package var listenerIsConnected = false
}
