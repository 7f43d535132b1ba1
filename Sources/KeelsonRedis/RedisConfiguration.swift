package import KeelsonCacheRules

/// Which Redis is used, and within which bounds.
package struct RedisConfiguration: Sendable {
  package struct Limits: Sendable {
    /// How long an answer is waited for.
    package var commandTimeout: Duration = .milliseconds(250)
    /// How long connecting may take, with TLS and logging in.
    package var connectTimeout: Duration = .seconds(1)
    /// A connection on which the oldest command has had no answer for this long is given up.
    package var stallTimeout: Duration = .seconds(1)
    /// The longest pause between two attempts to connect.
    package var longestRetryDelay: Duration = .seconds(2)
    /// Commands that may wait for an answer on one connection.
    package var queuedCommands = 10_000
    /// Bytes that may wait to be sent on one connection.
    package var queuedBytes = 64 << 20
    /// How often the subscription is asked whether it is up to date, while the cache is used.
    package var pingInterval: Duration = .milliseconds(10)
    /// How old what a reader is given may be.
    package var staleness: Duration = .milliseconds(100)
    /// How often memory, role and epoch are looked at.
    package var lookInterval: Duration = .milliseconds(250)
    /// Bytes that Redis may use where it has no maxmemory of its own; 0: no limit.
    package var memoryBytes = 0
    /// The part of Redis's maxmemory, in percent, from which on nothing is stored and room is made.
    package var fullPercent = 80
    package var view = InvalidationView.Limits()

    /// How old what is known may be when a get is sent, or the get waits for newer.
    var knowledgeAge: Duration { staleness / 2 }

    package init() {}
  }

  /// The pause after the first attempt to connect that has failed.
  static let shortestRetryDelay: Duration = .milliseconds(20)

  package var url: RedisURL
  package var limits = Limits()

  package init(url: RedisURL) {
    self.url = url
  }
}
