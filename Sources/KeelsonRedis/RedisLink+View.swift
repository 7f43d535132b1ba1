import KeelsonCacheRules

/// How what has become void is read.
extension RedisLink {
  /// Tags that are read at once: a millisecond of Redis's time.
  private static let tagsOfPage = 5_000

  /// Some of the tags, from a sequence on, and all else as it is at the same time.
  private struct Page {
    var epoch: UInt64
    var sequence: UInt64
    var floor: UInt64
    var tags: [(name: String, sequence: UInt64)]
    /// The last tag's sequence as Redis writes it, when there may be more behind it.
    var end: String?
    var bans: [InvalidationView.Ban]
  }

  /// Reads what has become void, tags by the order of their sequences: one that becomes void once more
  /// meanwhile moves on to where they are read later. What the last page says is true as of then.
  ///
  /// - Returns: nil when it changed in between.
  func readView(
    _ control: RedisConnection
  ) async throws(RedisError) -> (InvalidationView, KnownInvalidations.Link)? {
    let look = try await begin(control)
    var tags: [String: UInt64] = [:]
    var start = "-inf"
    var count = Self.tagsOfPage
    var firstFloor: UInt64?
    while true {
      guard let page = try await readPage(control, from: start, count), page.epoch == look.epoch
      else { return nil }
      firstFloor = firstFloor ?? page.floor
      for tag in page.tags { tags[tag.name] = tag.sequence }
      guard let end = page.end else {
        // Forgotten while others were read: the floor is over them.
        if page.floor > firstFloor ?? page.floor { tags = tags.filter { $0.value > page.floor } }
        let view = InvalidationView(
          epoch: page.epoch, sequence: page.sequence, floor: page.floor, tags: tags,
          bans: page.bans, limits: configuration.limits.view)
        let link = KnownInvalidations.Link(
          epoch: page.epoch, epochText: "\(page.epoch)", runID: control.runID, digests: digests)
        return (view, link)
      }
      // Its own tags are read once more with the next page, since others may share their sequence; more
      // than a page of one sequence need a larger page.
      if end == start { count *= 2 }
      start = end
    }
  }

  /// nil when some of it is missing.
  private func readPage(
    _ control: RedisConnection, from start: String, _ count: Int
  ) async throws(RedisError) -> Page? {
    let replies = try await control.ask(
      [
        RedisCommand("MULTI"),
        RedisCommand("HMGET", CacheNames.meta, "epoch", "sequence", "floor", "tags", "bans"),
        RedisCommand("ZCARD", CacheNames.tags),
        RedisCommand(
          "ZRANGE", CacheNames.tags, start, "+inf", "BYSCORE", "LIMIT", "0", "\(count)",
          "WITHSCORES"),
        RedisCommand("HGETALL", CacheNames.bans),
        RedisCommand("EXEC"),
      ], timeout: configuration.limits.connectTimeout)
    for reply in replies { _ = try reply.checked() }
    guard let parts = replies[5].array, parts.count == 4, let meta = parts[0].array,
      let tags = parts[2].array, let bans = parts[3].array, meta.count == 5,
      let epoch = meta[0].text.flatMap({ UInt64($0) }), let sequence = meta[1].number,
      let floor = meta[2].number, meta[3].number == parts[1].number,
      meta[4].number == Int64(bans.count / 2)
    else { return nil }
    var page = Page(
      epoch: epoch, sequence: UInt64(clamping: sequence), floor: UInt64(clamping: floor), tags: [],
      bans: [])
    page.tags.reserveCapacity(tags.count / 2)
    for index in stride(from: 0, to: tags.count - 1, by: 2) {
      guard let name = tags[index].text, let sequence = tags[index + 1].text.flatMap({ UInt64($0) })
      else { continue }
      page.tags.append((name, sequence))
    }
    if tags.count / 2 == count { page.end = tags.last?.text }
    for index in stride(from: 0, to: bans.count - 1, by: 2) {
      guard let text = bans[index].text, let pattern = try? CachePattern(text),
        let number = bans[index + 1].number
      else { continue }
      page.bans.append(InvalidationView.Ban(sequence: UInt64(clamping: number), pattern: pattern))
    }
    return page
  }

  /// The epoch of this Redis process, a new one if it may have lost something.
  func begin(_ control: RedisConnection) async throws(RedisError) -> RedisLook {
    let reply = try await control.ask(beginCommand(control, isLoaded: true))
    if case .error(let message) = reply, message.hasPrefix("NOSCRIPT") {
      return try RedisLook(
        begin: try await control.ask(beginCommand(control, isLoaded: false)).checked())
    }
    return try RedisLook(begin: try reply.checked())
  }

  func beginCommand(_ control: RedisConnection, isLoaded: Bool) -> RedisCommand {
    var command = RedisCommand(words: 9, bytes: isLoaded ? 256 : 2_048)
    command.append(isLoaded ? "EVALSHA" : "EVAL")
    if isLoaded {
      command.append(digests[RedisScript.begin.rawValue])
    } else {
      command.append(RedisScript.begin.text)
    }
    command.append(3)
    command.append(CacheNames.meta)
    command.append(CacheNames.tags)
    command.append(CacheNames.bans)
    command.append(control.runID)
    command.append(UInt64.random(in: 1...UInt64.max))
    command.append(channel)
    return command
  }
}
