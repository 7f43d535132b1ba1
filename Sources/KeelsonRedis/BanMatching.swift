import KeelsonCacheRules

/// Matches the keys of one read against the patterns that wait for a sweep. A value without I/O.
///
/// It does so much and no more: what is left counts as void. Thousands of keys and of patterns would keep
/// a loop from all else, and be answered too late.
struct BanMatching {
  /// Matches of one read.
  static let maximumMatches = 100_000

  private var left = maximumMatches

  /// Whether any of the bans voids a key, as far as can be said.
  mutating func isVoid(_ key: String, by bans: ArraySlice<InvalidationView.Ban>) -> Bool {
    guard bans.count <= left else { return true }
    left -= bans.count
    return bans.contains { $0.pattern.matches(key) }
  }
}
