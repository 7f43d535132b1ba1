extension Duration {
  /// Whole milliseconds, rounded up: what waits so long does not wait too short. 0 for negative
  /// durations, and the highest number for those beyond it.
  package var wholeMilliseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (milliseconds, overflows) = UInt64(seconds).multipliedReportingOverflow(by: 1_000)
    if overflows { return .max }
    let rest = UInt64(attoseconds)
    let (sum, isBeyond) = milliseconds.addingReportingOverflow(
      (rest + 999_999_999_999_999) / 1_000_000_000_000_000)
    return isBeyond ? .max : sum
  }
}
