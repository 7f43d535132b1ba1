import KeelsonTransport

extension RedisLink {
  /// Runs a script that checks the epoch.
  ///
  /// - Parameters:
  ///   - keys: how many keys the first closure appends.
  ///   - arguments: how many arguments there are: epoch and channel, and what the second closure
  ///     appends.
  /// - Throws: ``RedisError``, also for errors that Redis answers: `EPOCH` when the epoch has ended.
  func run(
    _ script: RedisScript, keys: Int, arguments: Int, on connection: RedisConnection,
    epoch: UInt64, timeout: Duration? = nil, _ appendKeys: (inout RedisCommand) -> Void,
    arguments appendArguments: (inout RedisCommand) -> Void
  ) async throws(RedisError) -> RedisReply {
    try await runPlain(
      script, keys: keys, arguments: arguments, on: connection, timeout: timeout
    ) { command in
      appendKeys(&command)
      command.append(epoch)
      command.append(channel)
      appendArguments(&command)
    }
  }

  /// Runs a script by its digest, or by its text where Redis does not have it any more.
  func runPlain(
    _ script: RedisScript, keys: Int, arguments: Int, on connection: RedisConnection,
    timeout: Duration? = nil, _ append: (inout RedisCommand) -> Void
  ) async throws(RedisError) -> RedisReply {
    let digests = try known.link().digests
    for isLoaded in [true, false] {
      var command = RedisCommand(words: 3 + keys + arguments, bytes: 512)
      command.append(isLoaded ? "EVALSHA" : "EVAL")
      if isLoaded { command.append(digests[script.rawValue]) } else { command.append(script.text) }
      command.append(keys)
      append(&command)
      let reply = try await connection.ask(command, timeout: timeout)
      if isLoaded, case .error(let message) = reply, message.hasPrefix("NOSCRIPT") { continue }
      return try reply.checked()
    }
    // The second round returns.
    throw RedisError(.unreachable, "Redis does not keep scripts.")
  }
}
