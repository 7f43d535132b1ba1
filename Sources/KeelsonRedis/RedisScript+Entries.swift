/// Scripts about entries.
extension RedisScript {
  /// Not when it comes so late that its sender has given up on it: what it stores may have been made
  /// void since.
  ///
  /// KEYS: meta, then entry and lease of each key. ARGV: epoch, channel, the message's body, milliseconds
  /// since 1970 until which it may be done, then for each key what comes before the stamp, what comes
  /// after it, and milliseconds to live.
  static let setText = """
    local time = redis.call('TIME')
    if tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 > tonumber(ARGV[4]) then
      return redis.error_reply('LATE its time is over')
    end
    local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
    local stamp = struct.pack('>I8', sequence)
    local a = 5
    for i = 2, #KEYS, 2 do
      redis.call('SET', KEYS[i], ARGV[a] .. stamp .. ARGV[a + 1], 'PX', ARGV[a + 2])
      redis.call('DEL', KEYS[i + 1])
      a = a + 3
    end
    publish(sequence, ARGV[3])
    return sequence
    """

  /// KEYS: meta, then entry and lease of each key. ARGV: epoch, channel, the message's body, and how
  /// many bytes of each entry are to be returned.
  static let deleteText = """
    local found = {}
    local bytes = tonumber(ARGV[4])
    for i = 2, #KEYS, 2 do
      if bytes > 0 then found[#found + 1] = head(KEYS[i], bytes) end
      redis.call('UNLINK', KEYS[i], KEYS[i + 1])
    end
    local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
    publish(sequence, ARGV[3])
    return {sequence, found}
    """

  /// KEYS: meta, then entries. ARGV: epoch, channel, milliseconds to live, the new times, then for each
  /// entry the beginning that was seen, empty to leave it alone. Returns for each whether it was there.
  static let touchText = """
    local found = {}
    for i = 2, #KEYS do
      local seen = ARGV[i + 3]
      if seen ~= '' and head(KEYS[i], \(EntryBlob.timesOffset)) == seen then
        redis.call('PEXPIRE', KEYS[i], ARGV[3])
        redis.call('SETRANGE', KEYS[i], \(EntryBlob.timesOffset), ARGV[4])
        found[i - 1] = 1
      else
        found[i - 1] = 0
      end
    end
    return found
    """
}
