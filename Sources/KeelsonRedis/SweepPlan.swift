import KeelsonCacheRules

/// What one sweep looks for. A value without I/O.
struct SweepPlan: Sendable {
  let epoch: UInt64
  /// Bans up to this sequence are done with once the sweep has ended.
  let upTo: UInt64
  let floor: UInt64
  private let prefixes: PrefixBans
  /// All others, the newest first.
  private let bans: [InvalidationView.Ban]
  /// Whether what is older than the floor, or of another epoch, may be anywhere.
  private let isWhole: Bool
  /// What keys to look for, in Redis's own language of patterns.
  let match: String
  let isEmpty: Bool

  /// - Parameters:
  ///   - floor: Redis's, which is above that of the view where another server remembers fewer tags.
  ///   - swept: see ``RedisLook/swept``.
  init(_ view: InvalidationView, floor: UInt64 = 0, swept: UInt64?) {
    let floor = max(floor, view.floor)
    self.floor = floor
    epoch = view.epoch
    upTo = view.sequence
    prefixes = PrefixBans(view.bans.lazy.filter(\.pattern.isPrefix))
    bans = view.bans.reversed().filter { !$0.pattern.isPrefix }
    isWhole = swept.map { $0 < floor } ?? true
    isEmpty = view.bans.isEmpty && !isWhole
    // No more than a beginning: callers' patterns are matched here, where none of them takes long.
    match = isWhole ? "*" : Self.commonPrefix(view.bans.map(\.pattern.prefix)) + "*"
  }

  /// A name in Redis, and the sequence from before which what it names is void.
  struct Suspect: Sendable {
    var name: [UInt8]
    var limit: UInt64
  }

  /// What has to be looked at, of names that begin with a prefix.
  func suspects(_ names: [RedisReply], after prefix: StaticString) -> [Suspect] {
    names.compactMap { name in
      guard let bytes = name.bytes, let key = CacheNames.key(bytes, after: prefix),
        let limit = limit(of: key)
      else { return nil }
      return Suspect(name: bytes, limit: limit)
    }
  }

  /// The sequence from before which an entry or a lease of a key is void; nil when it need not be
  /// looked at.
  func limit(of key: String) -> UInt64? {
    var newest = prefixes.newest(for: key)
    let newer = bans.prefix { $0.sequence > newest ?? 0 }
    var steps = 0
    // Of a key that takes long all that is left counts as void, like for those who read it.
    let within = BanMatching.stepsOfKey(newer.count)
    if let found = BanMatching.first(of: newer, for: key, within: within, &steps) {
      newest = newer[found].sequence
    }
    if isWhole { return max(floor, newest ?? 0) }
    return newest.map { max(floor, $0) }
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
