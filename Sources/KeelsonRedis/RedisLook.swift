/// What the script `begin` has found.
struct RedisLook: Sendable {
  var epoch: UInt64
  var bans: Int
  var floor: UInt64
  /// Nothing from before this floor is left; nil: not even of other epochs.
  var swept: UInt64?

  init(begin reply: RedisReply) throws(RedisError) {
    guard let parts = reply.array, parts.count == 4,
      let epoch = parts[0].text.flatMap({ UInt64($0) }), epoch != 0
    else {
      throw RedisError(.unreachable, "Redis has answered something else than its epoch.")
    }
    self.epoch = epoch
    bans = Int(parts[1].number ?? 0)
    floor = UInt64(clamping: parts[2].number ?? 0)
    swept = parts[3].number.flatMap { UInt64(exactly: $0) }
  }

  /// Whether something is there that is void.
  var wantsSweep: Bool { bans > 0 || swept.map { $0 < floor } ?? true }
}
