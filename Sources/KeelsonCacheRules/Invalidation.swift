/// What becomes void, and its place in the order of all that does.
package struct Invalidation: Sendable, Hashable {
  package enum Scope: Sendable, Hashable {
    /// These entries, and the leases for them.
    case keys([String])
    /// What has any of these tags.
    case tags([String])
    /// What matches.
    case pattern(CachePattern)
    case all
  }

  /// One more than that of the invalidation before it.
  package var sequence: UInt64
  package var scope: Scope

  package init(sequence: UInt64, scope: Scope) {
    self.sequence = sequence
    self.scope = scope
  }
}
