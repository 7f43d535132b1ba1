/// Pauses between attempts: doubled each time up to a limit, with a random part so that many
/// clients do not come back at once. A value without clock.
package struct Backoff: Sendable {
  private let shortest: Duration
  private let longest: Duration
  private var next: Duration

  package init(shortest: Duration, longest: Duration) {
    self.shortest = shortest
    self.longest = longest
    next = shortest
  }

  /// The pause before the next attempt.
  package mutating func pause() -> Duration {
    defer { next = min(next * 2, longest) }
    return next * Double.random(in: 0.5...1)
  }

  package mutating func reset() {
    next = shortest
  }
}
