/// Pauses between attempts: doubled each time up to a limit, with a random part so that many
/// clients do not come back at once. A value without clock.
struct Backoff {
  private let longest: Duration
  private var next = Self.shortest

  private static let shortest = Duration.milliseconds(20)

  init(longest: Duration) {
    self.longest = longest
  }

  /// The pause before the next attempt.
  mutating func pause() -> Duration {
    defer { next = min(next * 2, longest) }
    return next * Double.random(in: 0.5...1)
  }

  mutating func reset() {
    next = Self.shortest
  }
}
