/// Matches keys against the patterns that wait for a sweep. A value without I/O.
///
/// It does so much and no more: what is left counts as void. Thousands of keys and of patterns, or a few that
/// were made to take long, would keep a loop from all else, and be answered too late.
package struct BanMatching {
  /// Matches of one read. One that has to look at many bytes counts as several.
  package static let maximumMatches = 100_000
  /// What patterns that take long may take for one key: about 0.1 ms.
  private static let walkOfKey = 128_000

  private var left = maximumMatches * CachePattern.stepsOfMatch

  package init() {}

  /// Whether any of what ``InvalidationView/bansToMatch(stamp:tags:)`` gave voids a key, as far as can be
  /// said.
  package mutating func isVoid(
    _ key: String, by bans: ArraySlice<InvalidationView.Ban>?
  ) -> Bool {
    guard let bans else { return true }
    var steps = 0
    defer { left -= steps }
    return Self.first(of: bans, for: key, within: left, &steps) != nil
  }

  /// The same for one key alone, within ``stepsOfKey(_:)``.
  ///
  /// - Parameter steps: what it takes is added.
  package static func isVoid(
    _ key: String, by bans: ArraySlice<InvalidationView.Ban>?, steps: inout Int
  ) -> Bool {
    guard let bans else { return true }
    return first(of: bans, for: key, within: stepsOfKey(bans.count), &steps) != nil
  }

  /// What so many patterns may take for one key alone: twice what any match takes, and so all are matched
  /// unless some take long.
  package static func stepsOfKey(_ bans: Int) -> Int {
    bans * CachePattern.stepsOfMatch * 2 + walkOfKey
  }

  /// The first of some bans that voids a key, or the one for which there are no steps left; nil when
  /// none does.
  ///
  /// - Parameter taken: what it takes is added.
  package static func first(
    of bans: ArraySlice<InvalidationView.Ban>, for key: String, within limit: Int,
    _ taken: inout Int
  ) -> Int? {
    var steps = 0
    defer { taken += steps }
    // By their places: taken out of it each would be copied.
    return bans.indices.first {
      steps >= limit || bans[$0].pattern.matches(key, steps: &steps)
    }
  }
}
