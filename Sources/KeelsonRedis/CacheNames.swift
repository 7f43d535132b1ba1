/// The cache's keys in Redis. All begin alike, so that rights can be given for them.
enum CacheNames {
  /// Followed by the entry's key.
  static let entry: StaticString = "keelson:cache:e:"
  /// Followed by the key of the entry that is being loaded.
  static let lease: StaticString = "keelson:cache:l:"
  /// A hash: epoch, sequence, floor, run, how many tags and bans there have to be, what was swept.
  static let meta = "keelson:cache:meta"
  /// A sorted set: by tag, the sequence of its last invalidation.
  static let tags = "keelson:cache:tags"
  /// A hash: by pattern, the sequence of its last invalidation, until a sweep has ended.
  static let bans = "keelson:cache:bans"
  /// Held by the server that sweeps, and by the one that makes room.
  static let sweep = "keelson:cache:sweep"
  static let eviction = "keelson:cache:eviction"

  /// Channels know no databases, and the caches in two databases are two.
  static func channel(database: Int) -> String { "keelson:cache:invalidations:\(database)" }

  /// The key of an entry or a lease without what stands before it; nil for another.
  static func key(_ name: [UInt8], after prefix: StaticString) -> String? {
    let count = prefix.utf8CodeUnitCount
    guard name.count > count else { return nil }
    let isOurs = prefix.withUTF8Buffer { buffer in
      unsafe buffer.elementsEqual(name[..<count])
    }
    return isOurs ? String(decoding: name[count...], as: UTF8.self) : nil
  }
}
