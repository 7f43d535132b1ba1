/// Scripts about leases, and those that free memory.
extension RedisScript {
  /// A lease is `token epoch sequence`, and ` w` behind it once somebody waits.
  static func leaseText(token: UInt64, epoch: UInt64, sequence: UInt64) -> String {
    "\(token) \(epoch) \(sequence)"
  }

  /// A lease, if the entry is the one that the caller has found too old, and nobody has one. A lease
  /// from before everything was made void counts for none.
  ///
  /// KEYS: meta, entry, lease. ARGV: epoch, channel, the entry's header that was seen (empty: there was
  /// none), token, milliseconds, whether the caller would wait. Returns 1 when another entry
  /// is there by now; 2 and the milliseconds that the other's lease lasts; or 3 and the sequence.
  static let leaseText = """
    if redis.call('GETRANGE', KEYS[2], 0, \(EntryBlob.headerBytes - 1)) ~= ARGV[3] then
      return {1}
    end
    local m = redis.call('HMGET', KEYS[1], 'sequence', 'floor')
    local l = redis.call('GET', KEYS[3])
    if l then
      local epoch, sequence = string.match(l, '^%d+ (%d+) (%d+)')
      if epoch == ARGV[1] and tonumber(sequence) >= tonumber(m[2]) then
        if ARGV[6] == '1' and string.sub(l, -1) ~= 'w' then redis.call('APPEND', KEYS[3], ' w') end
        return {2, redis.call('PTTL', KEYS[3])}
      end
    end
    redis.call('SET', KEYS[3], ARGV[4] .. ' ' .. ARGV[1] .. ' ' .. m[1], 'PX', ARGV[5])
    return {3, m[1]}
    """

  /// KEYS: meta, entry, lease. ARGV: epoch, channel, the lease, the key, the entry, milliseconds to
  /// live. Returns whether the lease stood.
  static let fillText = """
    local l = redis.call('GET', KEYS[3])
    if l ~= ARGV[3] and l ~= ARGV[3] .. ' w' then return 0 end
    redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6])
    redis.call('DEL', KEYS[3])
    if #l > #ARGV[3] then publish(0, 'f ' .. ARGV[4]) end
    return 1
    """

  /// KEYS: meta, lease. ARGV: epoch, channel, the lease, the key. Returns whether it stood.
  static let releaseText = """
    local l = redis.call('GET', KEYS[2])
    if l ~= ARGV[3] and l ~= ARGV[3] .. ' w' then return 0 end
    redis.call('DEL', KEYS[2])
    if #l > #ARGV[3] then publish(0, 'f ' .. ARGV[4]) end
    return 1
    """

  /// KEYS: meta, then entries. ARGV: epoch, channel, milliseconds to live, the new times, then for each
  /// entry the header that was seen, empty to leave it alone. Returns for each whether it was there.
  static let touchText = """
    local found = {}
    for i = 2, #KEYS do
      local seen = ARGV[i + 3]
      if seen ~= '' and redis.call('GETRANGE', KEYS[i], 0, \(EntryBlob.headerBytes - 1)) == seen then
        redis.call('PEXPIRE', KEYS[i], ARGV[3])
        redis.call('SETRANGE', KEYS[i], \(EntryBlob.timesOffset), ARGV[4])
        found[i - 1] = 1
      else
        found[i - 1] = 0
      end
    end
    return found
    """

  /// Frees what is void: of another epoch, or from before a sequence.
  ///
  /// KEYS: meta, then entries or leases. ARGV: epoch, channel, `e` or `l`, the epoch as bytes, then for
  /// each the sequence. Returns how many are gone.
  static let voidText = """
    local count = 0
    for i = 2, #KEYS do
      local isVoid = false
      local limit = tonumber(ARGV[i + 3])
      if ARGV[3] == 'l' then
        local l = redis.call('GET', KEYS[i])
        if l then
          local epoch, sequence = string.match(l, '^%d+ (%d+) (%d+)')
          isVoid = epoch ~= ARGV[1] or tonumber(sequence) < limit
        end
      else
        local h = redis.call('GETRANGE', KEYS[i], 0, \(EntryBlob.timesOffset - 1))
        if #h == \(EntryBlob.timesOffset) and string.byte(h) == \(EntryBlob.version) then
          isVoid = string.sub(h, 3, 10) ~= ARGV[4] or struct.unpack('>I8', h, 11) < limit
        end
      end
      if isVoid then
        redis.call('UNLINK', KEYS[i])
        count = count + 1
      end
    end
    return count
    """

  /// Bans up to a sequence void nothing any more. KEYS: meta, bans. ARGV: epoch, channel, the sequence,
  /// the floor from before which nothing is left.
  static let dropText = """
    local bans = redis.call('HGETALL', KEYS[2])
    for i = 1, #bans, 2 do
      if tonumber(bans[i + 1]) <= tonumber(ARGV[3]) then redis.call('HDEL', KEYS[2], bans[i]) end
    end
    redis.call('HMSET', KEYS[1], 'bans', redis.call('HLEN', KEYS[2]), 'swept', ARGV[4])
    publish(0, 'd ' .. ARGV[3])
    return 1
    """

  /// Deletes the quarter of a sample of entries that was not asked for longest, or least often where
  /// Redis counts that instead. ARGV: cursor, pattern, how many keys are looked at. Returns the next
  /// cursor and how many are gone.
  static let evictText = """
    local reply = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
    local sample = {}
    for _, key in ipairs(reply[2]) do
      local idle = redis.pcall('OBJECT', 'IDLETIME', key)
      if type(idle) == 'table' then
        local often = redis.pcall('OBJECT', 'FREQ', key)
        idle = type(often) == 'number' and -often or false
      end
      if idle then sample[#sample + 1] = {idle, key} end
    end
    table.sort(sample, function(a, b) return a[1] > b[1] end)
    local count = math.ceil(#sample / 4)
    for i = 1, count do redis.call('UNLINK', sample[i][2]) end
    return {reply[1], count}
    """

  /// KEYS: meta, the lock. ARGV: milliseconds it lasts. Returns nothing when another has it.
  static let lockText = """
    return redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1])
    """
}
