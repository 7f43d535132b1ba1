import KeelsonAuditTrail

/// How many entries to read at once, when some have hundreds of KiB and most a few hundred bytes:
/// few at first, then as many as fit by the size of the last ones.
struct ReadPace: Sendable {
  private(set) var count: Int
  private let most: Int
  private let bytes: Int

  /// Before anything is known of their size.
  static let first = 32
  /// The next ones may be larger.
  private static let growth = 4

  /// - Parameters:
  ///   - most: how many to read at once at most.
  ///   - bytes: about how many bytes they should have together.
  ///   - first: how many to read at once at first.
  init(most: Int, bytes: Int, first: Int = Self.first) {
    self.most = max(1, most)
    self.bytes = bytes
    count = max(1, min(first, self.most))
  }

  /// Learns from what was read.
  mutating func took(_ entries: [AuditEntry]) {
    guard !entries.isEmpty else { return }
    let each = max(1, entries.reduce(0) { $0 + $1.sizeBytes } / entries.count)
    count = max(1, min(most, bytes / each, count * Self.growth))
  }
}
