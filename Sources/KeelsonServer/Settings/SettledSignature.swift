import KeelsonSecrets

/// Whether files have changed and stay as they are now: not everybody writes in one go, so a change
/// counts once two looks agree.
struct SettledSignature: Sendable {
  /// The files as they were when they were read last.
  private var seen: [FolderSignature?]
  /// The files as they were at the last look, when they were not as they were read.
  private var pending: [FolderSignature?]?

  init(_ seen: [FolderSignature?]) {
    self.seen = seen
  }

  /// - Parameter isAtOnce: whether a change counts though it was not seen before.
  mutating func hasChanged(to now: [FolderSignature?], isAtOnce: Bool = false) -> Bool {
    guard now != seen else {
      pending = nil
      return false
    }
    guard now == pending || isAtOnce else {
      pending = now
      return false
    }
    seen = now
    pending = nil
    return true
  }
}
