/// A Lua script that Redis runs in one go, with nothing in between.
enum RedisScript: Int, CaseIterable, Sendable {
  case begin, set, delete, tags, pattern, all, lease, fill, release, touch, void, drop, evict, lock

  /// What every script but `begin`, `evict` and `lock` starts with: what it is given belongs to this epoch.
  /// KEYS[1] is the hash `meta`, ARGV[1] the epoch, ARGV[2] the channel.
  private static let checkEpoch = """
    if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
      return redis.error_reply('EPOCH a new epoch has begun')
    end

    """

  /// Redis may have evicted what it had to remember, even ahead of running this very script: whoever
  /// counts anew would hide it. KEYS[2] is what is counted.
  private static let checkTags = """
    if tonumber(redis.call('HGET', KEYS[1], 'tags')) ~= redis.call('ZCARD', KEYS[2]) then
      return redis.error_reply('EPOCH tags were lost')
    end

    """
  private static let checkBans = """
    if tonumber(redis.call('HGET', KEYS[1], 'bans')) ~= redis.call('HLEN', KEYS[2]) then
      return redis.error_reply('EPOCH patterns were lost')
    end

    """

  /// The first bytes of an entry, and a lease: none where there is none, nor where something of another
  /// type is there, which is not ours.
  private static let read = """
    local function head(key, bytes)
      local found = redis.pcall('GETRANGE', key, 0, bytes - 1)
      return type(found) == 'string' and found or ''
    end
    local function text(key)
      local found = redis.pcall('GET', key)
      return type(found) == 'string' and found
    end

    """

  /// Numbers as text: Lua would write large ones with an exponent.
  private static let publish = """
    local function publish(sequence, body)
      redis.call('PUBLISH', ARGV[2], ARGV[1] .. ' ' .. string.format('%.0f', sequence) .. ' ' .. body)
    end

    """

  /// A Redis whose memory is full refuses a script's first write if that could use more memory, and
  /// lets it go on once it has written: so an invalidation begins with a deletion. Source: Redis,
  /// script.c, `SCRIPT_WRITE_DIRTY`; scripting.c before version 7.
  private static let writeInFullMemory = "redis.call('HDEL', KEYS[1], 'none')\n"

  var text: String {
    switch self {
    case .begin: Self.beginText
    case .evict: Self.evictText
    case .set: Self.checkEpoch + Self.publish + Self.setText
    case .delete: Self.checkEpoch + Self.read + Self.publish + Self.deleteText
    case .tags:
      Self.checkEpoch + Self.checkTags + Self.publish + Self.writeInFullMemory + Self.tagsText
    case .pattern:
      Self.checkEpoch + Self.checkBans + Self.publish + Self.writeInFullMemory + Self.patternText
    case .all: Self.checkEpoch + Self.publish + Self.writeInFullMemory + Self.allText
    case .lease: Self.checkEpoch + Self.read + Self.writeInFullMemory + Self.leaseText
    case .lock: Self.writeInFullMemory + Self.lockText
    case .fill: Self.checkEpoch + Self.read + Self.publish + Self.fillText
    case .release: Self.checkEpoch + Self.read + Self.publish + Self.releaseText
    case .touch: Self.checkEpoch + Self.read + Self.touchText
    case .void: Self.checkEpoch + Self.read + Self.voidText
    case .drop:
      Self.checkEpoch + Self.checkBans + Self.publish + Self.writeInFullMemory + Self.dropText
    }
  }

  /// The epoch, or a new one when Redis may have lost something: it is another process than the one
  /// that had the epoch, or some of what it has to remember is gone. KEYS: meta, tags, bans. ARGV: the
  /// process, an epoch for the case, the channel.
  private static let beginText = """
    local m = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'tags', 'bans', 'floor', 'swept', 'sequence')
    if m[1] and m[7] and m[2] == ARGV[1] and tonumber(m[3]) == redis.call('ZCARD', KEYS[2])
      and tonumber(m[4]) == redis.call('HLEN', KEYS[3]) then
      return {m[1], m[4], m[5], m[6]}
    end
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
    redis.call('HMSET', KEYS[1], 'epoch', ARGV[2], 'run', ARGV[1], 'sequence', '0', 'floor', '0',
      'tags', '0', 'bans', '0', 'swept', '-1')
    redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' 0 e')
    return {ARGV[2], '0', '0', '-1'}
    """

  /// KEYS: meta, tags. ARGV: epoch, channel, the message's body, how many tags may be remembered, tags.
  private static let tagsText = """
    local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
    local score = string.format('%.0f', sequence)
    for i = 5, #ARGV do redis.call('ZADD', KEYS[2], score, ARGV[i]) end
    local count = redis.call('ZCARD', KEYS[2])
    local limit = tonumber(ARGV[4])
    if count > limit then
      local last = count - math.floor(limit / 2) - 1
      local floor = redis.call('ZRANGE', KEYS[2], last, last, 'WITHSCORES')[2]
      redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', floor)
      count = redis.call('ZCARD', KEYS[2])
      if tonumber(floor) > tonumber(redis.call('HGET', KEYS[1], 'floor')) then
        redis.call('HSET', KEYS[1], 'floor', string.format('%.0f', tonumber(floor)))
      end
    end
    redis.call('HSET', KEYS[1], 'tags', count)
    publish(sequence, ARGV[3])
    return sequence
    """

  /// KEYS: meta, bans. ARGV: epoch, channel, the message's body, how many bans may wait, the pattern.
  private static let patternText = """
    if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4])
      and redis.call('HEXISTS', KEYS[2], ARGV[5]) == 0 then
      return redis.error_reply('BANS ' .. ARGV[4] .. ' patterns wait to be swept')
    end
    local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
    redis.call('HSET', KEYS[2], ARGV[5], string.format('%.0f', sequence))
    redis.call('HSET', KEYS[1], 'bans', redis.call('HLEN', KEYS[2]))
    publish(sequence, ARGV[3])
    return sequence
    """

  /// KEYS: meta, tags, bans. ARGV: epoch, channel, the message's body.
  private static let allText = """
    local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
    redis.call('UNLINK', KEYS[2], KEYS[3])
    redis.call('HMSET', KEYS[1], 'floor', string.format('%.0f', sequence), 'tags', '0', 'bans', '0')
    publish(sequence, ARGV[3])
    return sequence
    """
}
