import KeelsonCacheRules

/// What one sweep looks for. A value without I/O.
struct SweepPlan: Sendable {
  let epoch: UInt64
  /// Bans up to this sequence are done with once the sweep has ended.
  let upTo: UInt64
  let floor: UInt64
  private let bans: [InvalidationView.Ban]
  /// Whether what is older than the floor, or of another epoch, may be anywhere.
  private let isWhole: Bool
  /// What keys to look for, in Redis's own language of patterns.
  let match: String

  /// - Parameter swept: see ``RedisLook/swept``.
  init(_ view: InvalidationView, swept: UInt64?) {
    epoch = view.epoch
    upTo = view.sequence
    floor = view.floor
    bans = view.bans
    isWhole = swept.map { $0 < view.floor } ?? true
    // No more than a beginning: callers' patterns are matched here, where none of them takes long.
    match = isWhole ? "*" : Self.commonPrefix(bans.map(\.pattern.prefix)) + "*"
  }

  var isEmpty: Bool { bans.isEmpty && !isWhole }

  /// The sequence from before which an entry or a lease of a key is void; nil when it need not be
  /// looked at.
  func limit(of key: String) -> UInt64? {
    let ban = bans.last { $0.pattern.matches(key) }?.sequence
    if isWhole { return max(floor, ban ?? 0) }
    return ban.map { max(floor, $0) }
  }

  private static func commonPrefix(_ texts: [String]) -> String {
    guard var prefix = texts.first?.utf8[...] else { return "" }
    for text in texts.dropFirst() {
      let common = zip(prefix, text.utf8).prefix { $0 == $1 }.count
      prefix = prefix.prefix(common)
    }
    // A character that was cut in two is left to `*`.
    return String(Substring(prefix))
  }
}
