#if canImport(Glibc)
  import Glibc
#endif

/// Texts by their bytes. Swift's own comparison takes canonically equivalent texts (`é` as one character
/// or as two) for equal, which a key of a cache is not, nor what other engines make of a flag's rule.
extension String {
  package func hasSameBytes(as other: String) -> Bool {
    utf8.count == other.utf8.count && startsWithBytes(of: other)
  }

  package func startsWithBytes(of part: String) -> Bool {
    hasBytes(of: part, atEnd: false)
  }

  package func endsWithBytes(of part: String) -> Bool {
    hasBytes(of: part, atEnd: true)
  }

  /// The hash of its bytes. That of the text is the same for all spellings of it, of which a long one has
  /// as many as anybody likes.
  package func hashBytes(into hasher: inout Hasher) {
    let isDone: Void? = utf8.withContiguousStorageIfAvailable {
      hasher.combine(bytes: UnsafeRawBufferPointer($0))
    }
    if isDone == nil {
      for byte in utf8 { hasher.combine(byte) }
    }
    // No text has it: a name ends where it ends.
    hasher.combine(0xFF as UInt8)
  }

  private func hasBytes(of part: String, atEnd: Bool) -> Bool {
    let result: Bool?? = utf8.withContiguousStorageIfAvailable { mine in
      part.utf8.withContiguousStorageIfAvailable { theirs in
        let skipped = mine.count - theirs.count
        guard skipped >= 0 else { return false }
        guard let mine = mine.baseAddress, let start = theirs.baseAddress else { return true }
        return memcmp(mine + (atEnd ? skipped : 0), start, theirs.count) == 0
      }
    }
    if let result = result ?? nil { return result }
    let mine = atEnd ? utf8.suffix(part.utf8.count) : utf8.prefix(part.utf8.count)
    return mine.elementsEqual(part.utf8)
  }
}
