/// Scripts that free memory.
extension RedisScript {
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
        local l = text(KEYS[i])
        if l then
          local epoch, sequence = string.match(l, '^%d+ (%d+) (%d+)')
          isVoid = epoch ~= ARGV[1] or tonumber(sequence) < limit
        end
      else
        local h = head(KEYS[i], \(EntryBlob.nonceOffset))
        if #h == \(EntryBlob.nonceOffset) and string.byte(h) == \(EntryBlob.version) then
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
