/// Scripts about leases.
extension RedisScript {
  /// A lease is `token epoch sequence`, and ` w` behind it once somebody waits.
  static func leaseText(token: UInt64, epoch: UInt64, sequence: UInt64) -> String {
    "\(token) \(epoch) \(sequence)"
  }

  /// A lease, if the entry is the one that the caller has found too old, and nobody has one. A lease
  /// from before everything was made void counts for none.
  ///
  /// KEYS: meta, entry, lease. ARGV: epoch, channel, the beginning of the entry that was seen (empty:
  /// there was none), token, milliseconds, whether the caller would wait. Returns 1 when another entry
  /// is there by now; 2 and the milliseconds that the other's lease lasts; or 3 and the sequence.
  static let leaseText = """
    if head(KEYS[2], \(EntryBlob.timesOffset)) ~= ARGV[3] then return {1} end
    local m = redis.call('HMGET', KEYS[1], 'sequence', 'floor')
    local l = text(KEYS[3])
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
    local l = text(KEYS[3])
    if l ~= ARGV[3] and l ~= ARGV[3] .. ' w' then return 0 end
    redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6])
    redis.call('DEL', KEYS[3])
    if #l > #ARGV[3] then publish(0, 'f ' .. ARGV[4]) end
    return 1
    """

  /// KEYS: meta, lease. ARGV: epoch, channel, the lease, the key. Returns whether it stood.
  static let releaseText = """
    local l = text(KEYS[2])
    if l ~= ARGV[3] and l ~= ARGV[3] .. ' w' then return 0 end
    redis.call('DEL', KEYS[2])
    if #l > #ARGV[3] then publish(0, 'f ' .. ARGV[4]) end
    return 1
    """
}
