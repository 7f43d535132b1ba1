/// What has become void, as far as one knows: says whether an entry is still current.
///
/// An entry's stamp is the sequence when its content was asked for. Whatever concerns it and has a
/// higher sequence makes it void. Entries named by key need no record here: they were deleted, and a
/// copy of one lives where the invalidation is heard of.
///
/// It holds at most ``Limits/tags`` tags. Beyond that the oldest half goes and the floor rises to the
/// highest sequence that went: more is void than has to be, never less.
package struct InvalidationView: Sendable {
  package struct Limits: Sendable, Hashable {
    /// Tags whose last invalidation is remembered.
    package var tags = 100_000
    /// Patterns that wait for a sweep.
    package var bans = 1_000

    package init() {}
  }

  /// A pattern that stays in force until a sweep has removed what it voids.
  package struct Ban: Sendable, Hashable {
    package var sequence: UInt64
    package var pattern: CachePattern

    package init(sequence: UInt64, pattern: CachePattern) {
      self.sequence = sequence
      self.pattern = pattern
    }
  }

  package enum Outcome: Sendable, Hashable {
    case applied
    /// It was there already.
    case known
    /// Something between was missed: the view has to be read anew.
    case gap
  }

  /// Which life of the cache this is about. Entries of another are void. Not 0.
  package private(set) var epoch: UInt64
  /// Of the last invalidation.
  package private(set) var sequence: UInt64
  /// What has a lower stamp is void.
  package private(set) var floor: UInt64
  /// By tag, the sequence of its last invalidation.
  package private(set) var tags: [String: UInt64]
  /// By their sequence.
  package private(set) var bans: [Ban]
  /// The last sequence of a tag, a pattern or all: a stamp that is not lower is current.
  package private(set) var lastOfMany: UInt64
  private let limits: Limits

  package init(
    epoch: UInt64, sequence: UInt64 = 0, floor: UInt64 = 0, tags: [String: UInt64] = [:],
    bans: [Ban] = [], limits: Limits = Limits()
  ) {
    self.epoch = epoch
    self.sequence = sequence
    self.floor = floor
    self.tags = tags
    self.bans = bans.sorted { $0.sequence < $1.sequence }
    self.limits = limits
    lastOfMany = max(floor, tags.values.max() ?? 0, self.bans.last?.sequence ?? 0)
    trim()
  }

  /// Whether a pattern does not fit: a sweep has to end first. One that waits already needs no room.
  package func isFull(of pattern: CachePattern) -> Bool {
    bans.count >= limits.bans && !bans.contains { $0.pattern == pattern }
  }

  /// Counts an invalidation by keys that happens now, and returns its sequence.
  package mutating func invalidateKeys() -> UInt64 {
    sequence += 1
    return sequence
  }

  /// Takes in what has happened next.
  package mutating func apply(_ invalidation: Invalidation) -> Outcome {
    guard invalidation.sequence > sequence else { return .known }
    guard invalidation.sequence == sequence + 1 else { return .gap }
    sequence = invalidation.sequence
    switch invalidation.scope {
    case .keys: break
    case .tags(let names):
      for name in names { tags[name] = sequence }
      lastOfMany = sequence
      trim()
    case .pattern(let pattern):
      // One that was there is weaker.
      bans.removeAll { $0.pattern == pattern }
      bans.append(Ban(sequence: sequence, pattern: pattern))
      lastOfMany = sequence
    case .all:
      floor = sequence
      lastOfMany = sequence
      tags = [:]
      bans = []
    }
    return .applied
  }

  /// Nothing is left that the bans up to a sequence could void, nor can it come any more.
  package mutating func dropBans(upTo sequence: UInt64) {
    bans.removeAll { $0.sequence <= sequence }
  }

  /// Nothing is left that tags and patterns up to a sequence could void, nor can it come any more.
  package mutating func forget(upTo sequence: UInt64) {
    tags = tags.filter { $0.value > sequence }
    dropBans(upTo: sequence)
  }

  /// Whether an entry of this epoch is current.
  package func isCurrent(stamp: UInt64, key: String, tags names: [String]) -> Bool {
    guard let bans = bansToMatch(stamp: stamp, tags: names) else { return false }
    return !bans.contains { $0.pattern.matches(key) }
  }

  /// The same without the work, which ``BanMatching`` does: which bans void the entry if they match its
  /// key; nil when it is void whatever they say.
  package func bansToMatch(stamp: UInt64, tags names: [String]) -> ArraySlice<Ban>? {
    if stamp >= lastOfMany { return [] }
    if stamp < floor { return nil }
    if !tags.isEmpty {
      for name in names {
        if let last = tags[name], stamp < last { return nil }
      }
    }
    // Most are asked about soon after: what is newer than they are is at the end.
    var start = bans.endIndex
    while start > 0, bans[start - 1].sequence > stamp { start -= 1 }
    return bans[start...]
  }

  private mutating func trim() {
    guard tags.count > limits.tags else { return }
    let kept = limits.tags / 2
    let sequences = tags.values.sorted()
    let highestDropped = sequences[sequences.count - kept - 1]
    floor = max(floor, highestDropped)
    tags = tags.filter { $0.value > floor }
    lastOfMany = max(lastOfMany, floor)
  }
}
