/// The end of what a program writes, and how much it was in all.
struct OutputTail: Sendable {
  private let limit: Int
  private var kept: [UInt8] = []
  private(set) var total = 0

  init(limit: Int) {
    self.limit = limit
  }

  mutating func append(_ bytes: some Collection<UInt8>) {
    total += bytes.count
    kept += bytes.suffix(limit)
    // Now and then, so that each byte is moved once on average.
    if kept.count > 2 * limit { kept.removeFirst(kept.count - limit) }
  }

  /// At most as many bytes as the limit.
  var bytes: [UInt8] { Array(kept.suffix(limit)) }
}
