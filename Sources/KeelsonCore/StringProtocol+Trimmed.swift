extension StringProtocol {
  /// Without the spaces and line ends around it.
  package var trimmed: SubSequence {
    let start = firstIndex { !$0.isWhitespace } ?? endIndex
    var end = endIndex
    while end > start, self[index(before: end)].isWhitespace { end = index(before: end) }
    return self[start..<end]
  }
}
