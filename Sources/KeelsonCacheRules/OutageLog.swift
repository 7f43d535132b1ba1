/// What was said while an engine could not take it, and so has to become void there before it is
/// used again. Bounded: beyond the limit everything has to.
package struct OutageLog: Sendable {
  /// Keys that were written elsewhere, or whose writing has an unknown outcome.
  private(set) package var keys: Set<BytewiseKey> = []
  private(set) package var tags: Set<BytewiseKey> = []
  private(set) package var patterns: Set<CachePattern> = []
  /// Whether everything has to become void.
  private(set) package var isAll = false
  private let limit: Int
  private static let maximumPatterns = 100

  package init(limit: Int) {
    self.limit = limit
  }

  /// How many names are noted; everything counts as one.
  package var count: Int { isAll ? 1 : keys.count + tags.count + patterns.count }

  package var isEmpty: Bool { count == 0 }

  /// Whether a key's entry in the engine is not to be trusted because of what was written.
  package func concerns(_ key: String) -> Bool { isAll || keys.contains(BytewiseKey(key)) }

  package mutating func note(_ scope: Invalidation.Scope) {
    guard !isAll else { return }
    switch scope {
    case .keys(let keys): self.keys.formUnion(keys.lazy.map(BytewiseKey.init))
    case .tags(let tags): self.tags.formUnion(tags.lazy.map(BytewiseKey.init))
    case .pattern(let pattern): patterns.insert(pattern)
    case .all: isAll = true
    }
    // Patterns wait in the engine until it has looked at every key: of many, one look at all is enough.
    if count > limit || patterns.count > Self.maximumPatterns { isAll = true }
    if isAll { (keys, tags, patterns) = ([], [], []) }
  }

  /// What has to be invalidated, in any order, at most `batch` names at a time.
  package func scopes(batch: Int) -> [Invalidation.Scope] {
    if isAll { return [.all] }
    func batches(of names: Set<BytewiseKey>) -> [[String]] {
      let names = names.map(\.text)
      return stride(from: 0, to: names.count, by: batch).map {
        Array(names[$0..<min($0 + batch, names.count)])
      }
    }
    return batches(of: keys).map { .keys($0) } + batches(of: tags).map { .tags($0) }
      + patterns.map { .pattern($0) }
  }

  /// Notes all that another log holds.
  package mutating func add(_ other: OutageLog) {
    if other.isAll { note(.all) }
    if !other.keys.isEmpty { note(.keys(other.keys.map(\.text))) }
    if !other.tags.isEmpty { note(.tags(other.tags.map(\.text))) }
    for pattern in other.patterns { note(.pattern(pattern)) }
  }
}
