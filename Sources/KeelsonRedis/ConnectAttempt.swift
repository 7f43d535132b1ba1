import KeelsonCore
import KeelsonTransport

/// One attempt to make a connection that is logged in, to a Redis that can be used. Confined to its
/// loop.
///
/// `@unchecked Sendable`: touched on its loop only.
package final class ConnectAttempt: @unchecked Sendable {
  private let configuration: RedisConfiguration
  private let target: Target
  private let tls: TLSClientContext?
  private let loop: Loop
  private var opening: OpenAttempt?
  private var connection: RedisConnection?
  private var isCancelled = false

  init(
    _ configuration: RedisConfiguration, target: Target, tls: TLSClientContext?, on loop: Loop
  ) {
    self.configuration = configuration
    self.target = target
    self.tls = tls
    self.loop = loop
  }

  /// Runs, once. On the loop's thread only; it returns there, and the connection is the caller's to
  /// close.
  package func run() async throws(RedisError) -> RedisConnection {
    let stream = try await open()
    let connection = RedisConnection(stream, limits: configuration.limits, on: loop)
    self.connection = connection
    defer { self.connection = nil }
    do throws(RedisError) {
      guard !isCancelled else { throw RedisError.shuttingDown }
      try await logIn(connection)
      guard !isCancelled, connection.isOpen else {
        throw connection.failure ?? RedisError.shuttingDown
      }
      return connection
    } catch {
      connection.close()
      throw error
    }
  }

  /// Has it fail soon, and leave nothing on the loop. On the loop's thread only.
  package func cancel() {
    isCancelled = true
    opening?.cancel(RedisError.shuttingDown)
    connection?.close()
  }

  /// Hands a stream over to the task that waits on the same loop.
  ///
  /// `@unchecked Sendable`: confined to the loop.
  private struct Opened: @unchecked Sendable {
    let stream: any ByteStream
  }

  private func open() async throws(RedisError) -> any ByteStream {
    guard !isCancelled else { throw RedisError.shuttingDown }
    defer { opening = nil }
    return try await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<Opened, RedisError>, Never>) in
      let attempt = OpenAttempt(
        target: target, tls: tls, url: configuration.url,
        timeout: configuration.limits.connectTimeout, loop: loop
      ) { outcome in
        continuation.resume(returning: outcome.map { Opened(stream: $0) })
      }
      opening = attempt
      attempt.start()
    }.get().stream
  }

  // MARK: Logging in

  private func logIn(_ connection: RedisConnection) async throws(RedisError) {
    let url = configuration.url
    var commands: [RedisCommand] = []
    if let password = url.password {
      commands.append(
        url.user.map { RedisCommand("AUTH", $0, password.text) }
          ?? RedisCommand("AUTH", password.text))
    }
    if url.database != 0 { commands.append(RedisCommand("SELECT", "\(url.database)")) }
    commands.append(RedisCommand("INFO"))
    // For who looks at Redis's list of clients; a Redis that does not allow it is no worse.
    commands.append(RedisCommand("CLIENT", "SETNAME", "keelson-cache"))
    let replies = try await connection.ask(
      commands, timeout: configuration.limits.connectTimeout)
    for case .error(let message) in replies.dropLast() { throw refusal(message) }
    let information = try RedisInformation(replies[replies.count - 2])
    try information.check()
    connection.runID = information.runID
  }

  /// What an error while logging in means.
  private func refusal(_ message: String) -> RedisError {
    let place = configuration.url.description
    switch message.prefix(while: { $0 != " " }) {
    case "NOAUTH":
      return RedisError(.refused, "\(place) wants a password: give it in the cache's address.")
    case "WRONGPASS":
      return RedisError(
        .refused, "\(place) does not take the user and the password of the cache's address.")
    case "NOPERM":
      return .tooFewRights(at: configuration.url, message)
    case "LOADING":
      return RedisError(.unreachable, "Redis is loading its data.")
    case "MASTERDOWN", "BUSY":
      return RedisError(.unreachable, "Redis has answered: \(message).")
    default:
      if message.contains("AUTH") {
        // Of Redis below version 6, and of one that has no password at all.
        return RedisError(
          .refused, "\(place) does not take the password of the cache's address: \(message).")
      }
      if message.contains("DB index") {
        return RedisError(
          .refused,
          "\(place) has no database \(configuration.url.database) (databases in its configuration)."
        )
      }
      return RedisError(.unreachable, "Redis has answered: \(message).")
    }
  }
}
