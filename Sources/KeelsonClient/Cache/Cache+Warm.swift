/// How far ``Cache/warm(_:concurrency:ttl:tags:policy:progress:load:)`` is.
public struct CacheWarming: Sendable, Hashable {
  /// Keys there are.
  public var total: Int
  /// Keys that are in the cache now.
  public var warm = 0
  /// Keys whose loader has thrown.
  public var failed = 0
  /// What the first ten of those have thrown, each with its key.
  public var errors: [String] = []

  public init(total: Int) {
    self.total = total
  }
}

extension Cache {
  /// Remembers many values ahead of their first use: loads what is not in the cache, a few at a time.
  /// A loader that throws fails its own key alone.
  ///
  /// - Parameters:
  ///   - concurrency: how many are loaded at a time.
  ///   - progress: hears after each key how far it is, one call at a time.
  /// - Throws: `CancellationError` when the task is cancelled.
  @discardableResult
  public func warm<Value: Codable & Sendable>(
    _ keys: [String], concurrency: Int = 8, ttl: Duration? = nil, tags: [String] = [],
    policy: CachePolicy? = nil, progress: (CacheWarming) -> Void = { _ in },
    load: @escaping @Sendable (_ key: String) async throws -> Value
  ) async throws -> CacheWarming {
    var warming = CacheWarming(total: keys.count)
    try await withThrowingTaskGroup(of: String?.self) { group in
      var next = 0
      while warming.warm + warming.failed < keys.count {
        while next < keys.count, next - warming.warm - warming.failed < max(1, concurrency) {
          let key = keys[next]
          next += 1
          group.addTask {
            do {
              _ = try await remember(key, ttl: ttl, tags: tags, policy: policy) {
                try await load(key)
              }
              return nil
            } catch {
              try Task.checkCancellation()
              return "\(key): \(error)"
            }
          }
        }
        if let error = try await group.next() ?? nil {
          warming.failed += 1
          if warming.errors.count < 10 { warming.errors.append(error) }
        } else {
          warming.warm += 1
        }
        progress(warming)
      }
    }
    return warming
  }
}
