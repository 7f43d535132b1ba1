import KeelsonCore

/// Finds the route of a path without making a string of it.
struct Router: Sendable {
  /// A route with its path's bytes, and the interceptors' functions for its method.
  final class Entry: Sendable {
    typealias Functions = ServerInterceptor.Functions

    let path: [UInt8]
    let method: MethodDescriptor
    /// With what stands around it.
    let handler: Route.Handler
    let isUnary: Bool
    let begins: [(position: Int, begin: Functions.Begin)]
    /// In the order they run in.
    let ends: [(position: Int, end: Functions.End)]
    let interceptorCount: Int

    init(_ route: Route, _ interceptors: [ServerInterceptor]) {
      let functions = interceptors.map { $0.functions(for: route.method) }
      let around = route.around(functions.compactMap(\.around))
      path = Array(route.method.path.utf8)
      method = route.method
      handler = around.handler
      isUnary = if case .streaming = route.handler { false } else { true }
      var begins: [(position: Int, begin: Functions.Begin)] = []
      var ends: [(position: Int, end: Functions.End)] = []
      for (position, functions) in functions.enumerated() {
        if let begin = functions.begin { begins.append((position, begin)) }
        if let end = functions.end { ends.insert((position, end), at: 0) }
      }
      self.begins = begins
      self.ends = ends
      interceptorCount = functions.count
    }
  }

  /// Open addressing; a power of two, at most half full.
  private let slots: [Entry?]
  /// What calls of methods that there are not have instead.
  let unknown: Entry

  /// - Precondition: each path stands once.
  init(_ routes: [Route], _ interceptors: [ServerInterceptor] = []) {
    let refusal = Route(
      method: .unknown,
      handler: .unary { _, context in
        throw RPCError(.unimplemented, "There is no method \(context.method.path).")
      })
    self.init(
      entries: routes.map { Entry($0, interceptors) }, unknown: Entry(refusal, interceptors))
  }

  /// The routes of one service only, with the same functions around them.
  func only(service: String) -> Router {
    Router(
      entries: slots.compactMap { $0 }.filter { $0.method.service == service }, unknown: unknown)
  }

  private init(entries: [Entry], unknown: Entry) {
    var capacity = 8
    while capacity < entries.count * 2 { capacity *= 2 }
    var slots = [Entry?](repeating: nil, count: capacity)
    for entry in entries {
      let path = entry.path
      var index = Self.hash(path.span) & (capacity - 1)
      while let other = slots[index] {
        precondition(other.path != entry.path, "two routes for \(entry.method.path)")
        index = (index + 1) & (capacity - 1)
      }
      slots[index] = entry
    }
    self.slots = slots
    self.unknown = unknown
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
