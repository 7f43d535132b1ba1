import KeelsonCacheRules

/// Why Redis did not do what it was asked to.
package struct RedisError: Error, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// There is no connection, or it was lost while the answer was waited for.
    case unreachable
    /// No answer in time. The command may have been carried out.
    case timedOut
    /// More waits than may: see ``RedisConfiguration/Limits``.
    case overloaded
    /// What was given cannot work: the address, the login, or the kind of Redis.
    case refused
    /// Redis has answered with an error.
    case answered
  }

  package let code: Code
  /// A sentence for the log; without passwords.
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// Redis's own error: its first word says which.
  init(reply: String) {
    self.init(.answered, reply)
  }

  static let shuttingDown = RedisError(
    .unreachable, "There is no connection to Redis: the server is shutting down.")

  /// - Parameter message: Redis's own.
  static func tooFewRights(at url: RedisURL, _ message: String) -> RedisError {
    RedisError(
      .refused,
      "\(url.description) gives the user of the cache's address too few rights: \(message).")
  }

  package var description: String { message }

  /// The first word of Redis's own error, `NOSCRIPT` for example; empty for others.
  var kind: Substring { code == .answered ? message.prefix { $0 != " " } : "" }

  /// Whether the user may not do what was asked. Of what a script may not do Redis says so in its text
  /// alone.
  var isAboutRights: Bool {
    kind == "NOPERM" || message.contains("The user executing the script can't")
  }

  /// For who asked the engine.
  var asEngineError: CacheEngineError {
    switch code {
    case .unreachable, .timedOut, .overloaded: return CacheEngineError(.unavailable, message)
    case .refused: return CacheEngineError(.failed, message)
    case .answered:
      // Redis that loads its data, is busy with a script, has become a replica, or lost its primary.
      switch kind {
      case "LOADING", "BUSY", "READONLY", "MASTERDOWN", "TRYAGAIN", "EPOCH", "LATE":
        return CacheEngineError(.unavailable, "Redis has answered: \(message).")
      case "BANS":
        return CacheEngineError(.full, "\(message.drop { $0 != " " }.dropFirst()).")
      default: return CacheEngineError(.failed, "Redis has answered: \(message).")
      }
    }
  }
}
