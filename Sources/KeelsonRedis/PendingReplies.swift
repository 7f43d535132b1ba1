/// Commands that wait for their answers, which come in the order in which the commands were sent. A
/// value without clock.
///
/// Whoever has waited too long is told so, and leaves an empty place behind: the answer that still
/// comes is nobody's, and those behind it get their own.
struct PendingReplies {
  typealias Completion = (Result<RedisReply, RedisError>) -> Void

  private struct Place {
    var completion: Completion?
    var sent: UInt64
    var due: UInt64
  }

  private var places: [Place] = []
  private var first = 0
  /// When somebody may have waited too long; `.max` when nobody waits.
  private(set) var earliestDue = UInt64.max

  var count: Int { places.count - first }

  /// - Parameters:
  ///   - now: milliseconds, by the same clock everywhere here.
  ///   - due: when the answer has to be there.
  mutating func append(now: UInt64, due: UInt64, _ completion: @escaping Completion) {
    places.append(Place(completion: completion, sent: now, due: due))
    earliestDue = min(earliestDue, due)
  }

  /// The place that the next answer belongs to.
  ///
  /// - Returns: false when nothing was asked.
  mutating func takeFirst(_ body: (Completion?) -> Void) -> Bool {
    guard first < places.count else { return false }
    let completion = places[first].completion
    places[first].completion = nil
    first += 1
    if first == places.count {
      places.removeAll(keepingCapacity: places.count <= 1_024)
      first = 0
      earliestDue = .max
    } else if first >= 1_024, first * 2 > places.count {
      places.removeFirst(first)
      first = 0
    }
    body(completion)
    return true
  }

  /// Those who have waited too long by now. Their places stay.
  mutating func takeLate(now: UInt64) -> [Completion] {
    var late: [Completion] = []
    earliestDue = .max
    for index in first..<places.count {
      guard let completion = places[index].completion else { continue }
      if places[index].due <= now {
        late.append(completion)
        places[index].completion = nil
      } else {
        earliestDue = min(earliestDue, places[index].due)
      }
    }
    return late
  }

  /// How long the oldest command has been unanswered; nil when none is.
  func oldestAge(now: UInt64) -> UInt64? {
    first < places.count ? now - min(now, places[first].sent) : nil
  }

  /// All who wait; nothing is left.
  mutating func takeAll() -> [Completion] {
    let all = places[first...].compactMap(\.completion)
    self = PendingReplies()
    return all
  }
}
