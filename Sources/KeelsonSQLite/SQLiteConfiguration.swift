package import KeelsonStore

/// How the embedded engine is set up.
package struct SQLiteConfiguration: Sendable {
  /// The data folder; made when it is missing.
  package var folder: String
  /// When to look through the whole file for damage while opening it; takes time with its size.
  package var integrityCheck = IntegrityCheck.afterCrash
  package var limits = Limits()

  package init(folder: String) {
    self.folder = folder
  }

  package enum IntegrityCheck: Sendable {
    case never
    /// Where the process before did not close the database.
    case afterCrash
    case always
  }

  package struct Limits: Sendable {
    /// How many writes may wait for their turn; beyond, they fail as overloaded.
    package var waitingWrites = 10_000
    /// How many reads may wait for their turn; beyond, they fail as overloaded.
    package var waitingReads = 10_000
    /// How many writes share one commit at most. Bounds how long the first one waits for the
    /// others' statements.
    package var writesPerCommit = 512
    /// How long a batch waits at most for as many writes as the last one had.
    package var linger = Duration.microseconds(200)
    /// How many threads read.
    package var readers = 3
    /// How many pages of 4,096 bytes the write-ahead log may hold before they are moved into the
    /// main file.
    package var walPages = 4_000
    /// How many bytes of memory each connection may use for pages.
    package var cacheBytesPerConnection = 8 << 20
    /// How many pages of 4,096 bytes the database may have; nil: as many as the disk holds.
    package var maximumPages: Int?

    /// What the change feed keeps in memory.
    package var liveEvents = LiveEvents.Limits()

    package init() {}
  }
}

/// What the writer has done since it was opened.
package struct SQLiteStatistics: Sendable, Hashable {
  /// Commits, each at most one flush of the write-ahead log.
  package var commits = 0
  /// Writes answered by those commits.
  package var writes = 0
  /// The most writes that shared one commit.
  package var largestBatch = 0
}
