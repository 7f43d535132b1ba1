import Glibc
import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson cache`: the commands that read the cache, change it and show how it is used.
enum CacheCommand {
  static let command = Command(
    name: "cache", summary: "Read the cache, make entries void, see how it is used",
    subcommands: [
      get, set, delete, touch, invalidate, flush, stats, CacheTopCommand.command, watch,
      WarmSetsCommand.command,
    ])

  private static let key = Command.Argument(
    name: "KEY", help: "The entry's key: {tenant}:{module}:{entity}:{id}.")

  private static let lifetime: [Command.Option] = [
    .init(
      name: "ttl", value: "TIME", help: "How long it is fresh: 1ms to 30d.", defaultValue: "5m"),
    .init(
      name: "jitter", value: "PART",
      help: "The part of that by which it is shortened at most, at random: 0 to 0.5.",
      defaultValue: "0.1"),
    .init(
      name: "stale-for", value: "TIME",
      help: "How long it is kept after that for who cannot load a fresh one."),
  ]

  private static func lifetime(_ invocation: Invocation) throws -> KeelsonCacheV1.Lifetime {
    var lifetime = KeelsonCacheV1.Lifetime()
    lifetime.ttl = try JobOptions.duration("ttl", invocation).map { .init($0) }
    lifetime.staleFor = try JobOptions.duration("stale-for", invocation).map { .init($0) }
    if let text = invocation.option("jitter") {
      guard let jitter = Double(text), (0...0.5).contains(jitter) else {
        throw UsageError("--jitter takes a number from 0 to 0.5, not '\(text)'.")
      }
      lifetime.jitter = jitter
    }
    return lifetime
  }

  // MARK: Entries

  private static let get = Command(
    name: "get", summary: "Show an entry", arguments: [key],
    options: [
      .init(name: "value", help: "Only its value, byte for byte.")
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let key = invocation.argument("KEY")
      let answer = try await session.client.cache.service.getEntry(.init(key: key))
      guard let entry = answer.entry else {
        throw RPCError(.notFound, "There is no entry '\(key)'.")
      }
      guard invocation.has("value") else {
        return try session.output.print(answer) { entry.sheet(key) }
      }
      guard Output.write(entry.value, to: STDOUT_FILENO) else {
        throw InputFile.failure("The output cannot be written")
      }
    }
  }

  private static let set = Command(
    name: "set", summary: "Store an entry in place of what is there",
    discussion: "Readers get the new value within 100 ms.",
    arguments: [
      key, .init(name: "VALUE", help: "The value, or @FILE for what is in a file."),
    ],
    options: [
      .init(
        name: "tag", value: "TAG", help: "What it can be invalidated by.", isRepeatable: true)
    ] + lifetime + Session.options
  ) { invocation in
    var request = KeelsonCacheV1.SetEntryRequest()
    request.key = invocation.argument("KEY")
    request.value = try value(invocation.argument("VALUE"))
    request.tags = invocation.all("tag")
    request.lifetime = try lifetime(invocation)
    try await Session.run(invocation) { [request] session in
      let answer = try await session.client.cache.service.setEntry(request)
      guard answer.stored else {
        throw RPCError(
          .resourceExhausted, "The entry is not stored: the cache is full and makes room.")
      }
      try session.output.print(answer) {
        answer.fallback
          ? "Stored '\(request.key)' in this server's own memory, for a moment: Redis is away."
          : "Stored '\(request.key)'."
      }
    }
  }

  private static func value(_ text: String) throws -> [UInt8] {
    guard text.hasPrefix("@") else { return Array(text.utf8) }
    let file = try InputFile(String(text.dropFirst()))
    var bytes: [UInt8] = []
    while true {
      let piece = try file.read()
      if piece.isEmpty { return bytes }
      bytes += piece
      // What no server takes need not be read to its end.
      guard bytes.count <= 64 << 20 else {
        throw RPCError(.invalidArgument, "The file is too large for the cache.")
      }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Take an entry out", arguments: [key], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let key = invocation.argument("KEY")
      let answer = try await session.client.cache.service.deleteEntries(.init(keys: [key]))
      try session.output.print(answer) {
        answer.found == [true] ? "Deleted '\(key)'." : "There was no entry '\(key)'."
      }
    }
  }

  private static let touch = Command(
    name: "touch", summary: "Let an entry live on from now", arguments: [key],
    options: lifetime + Session.options
  ) { invocation in
    var request = KeelsonCacheV1.TouchEntriesRequest()
    request.keys = [invocation.argument("KEY")]
    request.lifetime = try lifetime(invocation)
    try await Session.run(invocation) { [request] session in
      let key = invocation.argument("KEY")
      let answer = try await session.client.cache.service.touchEntries(request)
      guard answer.found == [true] else {
        throw RPCError(.notFound, "There is no entry '\(key)'.")
      }
      try session.output.print(answer) { "'\(key)' lives on." }
    }
  }

  // MARK: Invalidating

  private static let invalidate = Command(
    name: "invalidate", summary: "Make entries void, for every reader within 100 ms",
    discussion: """
      In a pattern '*' stands for any run of characters, colons among them, and '?' for one: \
      'acme:accounting:*'. Quote it, or the shell takes it for files.
      """,
    options: [
      .init(name: "key", value: "KEY", help: "This entry.", isRepeatable: true),
      .init(name: "tag", value: "TAG", help: "Entries with this tag.", isRepeatable: true),
      .init(
        name: "pattern", value: "PATTERN", help: "Entries whose key matches.",
        isRepeatable: true),
      .init(name: "all", help: "A pattern that matches every key is meant so."),
    ] + Session.options
  ) { invocation in
    let request = KeelsonCacheV1.InvalidateEntriesRequest(
      keys: invocation.all("key"), tags: invocation.all("tag"),
      patterns: invocation.all("pattern"), allowAll: invocation.has("all"))
    guard !(request.keys.isEmpty && request.tags.isEmpty && request.patterns.isEmpty) else {
      throw UsageError("Say what: --key, --tag or --pattern.")
    }
    let matchesAll = request.patterns.first { $0.allSatisfy { "*?:".contains($0) } }
    if let matchesAll, !request.allowAll {
      throw UsageError("--pattern '\(matchesAll)' matches every key: give --all if that is meant.")
    }
    try await Session.run(invocation) { session in
      let answer = try await session.client.cache.service.invalidateEntries(request)
      try session.output.print(answer) { "Invalidated." }
    }
  }

  private static let flush = Command(
    name: "flush", summary: "Make every entry void; audited",
    options: [
      .init(name: "reason", value: "TEXT", help: "Why, for the audit trail."),
      .init(name: "yes", help: "Do not ask."),
    ] + Session.options
  ) { invocation in
    if !invocation.has("yes") {
      guard isatty(STDIN_FILENO) == 1 else {
        throw UsageError("Every entry would be void: give --yes if that is meant.")
      }
      let server = Session.server(invocation).printable()
      _ = Output.write(
        Array("Make every entry of the cache at \(server) void? [y/N] ".utf8), to: STDERR_FILENO)
      guard let answer = readLine() else {
        // The end of the input is no end of the line.
        _ = Output.write(Array("\n".utf8), to: STDERR_FILENO)
        throw RPCError(.cancelled, "Nothing was done.")
      }
      let word = answer.lowercased().filter { !$0.isWhitespace }
      guard ["y", "yes"].contains(word) else {
        throw RPCError(.cancelled, "Nothing was done.")
      }
    }
    try await Session.run(invocation) { session in
      let answer = try await session.client.cache.service.flushCache(
        .init(reason: invocation.option("reason") ?? ""))
      try session.output.print(answer) { "Flushed the cache." }
    }
  }

  // MARK: Seeing

  private static let stats = Command(
    name: "stats", summary: "Show how the cache is used and how full it is, and its hottest keys",
    discussion: "Counts are of the server that answers, since it started.",
    options: [
      .init(
        name: "hottest", value: "N", help: "How many of the hottest keys: 0 to 100.",
        defaultValue: "10")
    ] + Session.options
  ) { invocation in
    let hottest: Int32 = try invocation.integer("hottest") ?? 10
    try await Session.run(invocation) { session in
      let statistics = try await session.client.cache.statistics(hottest: hottest)
      try session.output.print(statistics) { statistics.sheet }
    }
  }

  private static let watch = Command(
    name: "watch", summary: "Show what becomes void, as it happens, until Ctrl-C",
    options: Session.streamOptions
  ) { invocation in
    try await Session.run(invocation) { session in
      try await session.untilInterrupted {
        try await session.requireServer()
        try await session.overLosses {
          let call = session.client.cache.service.watchInvalidations(options: $0)
          defer { call.cancel() }
          for try await response in call.responses {
            try session.output.show(response, response.line)
          }
        }
      }
    }
  }
}
