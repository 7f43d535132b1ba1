import KeelsonCore

/// Finds the route of a path without making a string of it.
struct Router: Sendable {
  /// A route with its path's bytes.
  final class Entry: Sendable {
    let path: [UInt8]
    let route: Route
    let isUnary: Bool

    init(_ route: Route) {
      self.route = route
      isUnary = if case .unary = route.handler { true } else { false }
      path = Array(route.method.path.utf8)
    }
  }

  /// Open addressing; a power of two, at most half full.
  private let slots: [Entry?]

  /// - Precondition: each path stands once.
  init(_ routes: [Route]) {
    var capacity = 8
    while capacity < routes.count * 2 { capacity *= 2 }
    var slots = [Entry?](repeating: nil, count: capacity)
    for route in routes {
      let entry = Entry(route)
      let path = entry.path
      var index = Self.hash(path.span) & (capacity - 1)
      while let other = slots[index] {
        precondition(other.path != entry.path, "two routes for \(route.method.path)")
        index = (index + 1) & (capacity - 1)
      }
      slots[index] = entry
    }
    self.slots = slots
  }

  func route(for path: Span<UInt8>) -> Entry? {
    var index = Self.hash(path) & (slots.count - 1)
    while let entry = slots[index] {
      let known = entry.path
      if Self.equal(known.span, path) { return entry }
      index = (index + 1) & (slots.count - 1)
    }
    return nil
  }

  private static func equal(_ first: Span<UInt8>, _ second: Span<UInt8>) -> Bool {
    guard first.count == second.count else { return false }
    for index in first.indices where first[index] != second[index] { return false }
    return true
  }

  /// FNV-1a over the last 16 bytes and the length: that is where paths differ. The table is
  /// fixed at the start, so a peer cannot make it collide.
  private static func hash(_ path: Span<UInt8>) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(path.count)
    for index in max(0, path.count - 16)..<path.count {
      hash = (hash ^ UInt64(path[index])) &* 0x100_0000_01b3
    }
    return Int(truncatingIfNeeded: hash ^ hash >> 32)
  }
}
