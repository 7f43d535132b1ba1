import KeelsonCore

extension Cache {
  /// The value under a key: from the cache, or loaded and stored there.
  ///
  /// Of all callers in the fleet one runs its loader, the others get what it stores. While there is
  /// trouble, a caller gets what its loader returns: no error of the cache's is ever thrown. When
  /// loading fails or takes too long, a stale value that is within the policy's limits will do.
  ///
  /// The first caller's loader and policy count for all in the process who wait with it. The loader
  /// may go on after its caller has left; it is cancelled when nobody wants what it loads.
  ///
  /// - Parameters:
  ///   - ttl: how long it is fresh, 1 ms to 30 days; nil: 5 minutes.
  ///   - tags: what it can be invalidated by, at most 16.
  ///   - policy: nil: the configuration's.
  ///   - load: gets the value from where it comes from.
  /// - Throws: what the loader has thrown; ``RPCError`` DEADLINE_EXCEEDED at the hard timeout;
  ///   `CancellationError` when the caller's task is cancelled.
  public func remember<Value: Codable & Sendable>(
    _ key: String, ttl: Duration? = nil, tags: [String] = [], policy: CachePolicy? = nil,
    load: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    try await CacheLoad<Value, Value>(
      core: core, key: key, ttl: ttl, tags: tags, policy: policy ?? core.configuration.policy,
      shape: .init(output: { $0 }, absent: nil, value: { $0 }), load: load
    ).value()
  }

  /// The same for what may not be there: that the loader has returned nil is remembered, too, for
  /// ``CachePolicy/negativeTTL``.
  public func remember<Value: Codable & Sendable>(
    _ key: String, ttl: Duration? = nil, tags: [String] = [], policy: CachePolicy? = nil,
    load: @escaping @Sendable () async throws -> Value?
  ) async throws -> Value? {
    try await CacheLoad<Value, Value?>(
      core: core, key: key, ttl: ttl, tags: tags, policy: policy ?? core.configuration.policy,
      shape: .init(output: { $0 }, absent: .some(nil), value: { $0 }), load: load
    ).value()
  }
}

extension CacheLoad {
  /// The copy, or what a flight brings.
  func value() async throws -> Output {
    if let (copy, wantsRefresh) = core.look(key), let output = output(of: copy) {
      if wantsRefresh { refresh() }
      return output
    }
    let (flight, caller, isNew) = core.flights.join(key) {
      Flight(key, tags: tags, near: core.near, isBackground: false)
    }
    if isNew { start(flight) }
    let given = try await flight.value(for: caller)
    if given.isStale { core.count { $0.staleValues += 1 } }
    return given.output
  }

  /// Loads it anew in the background, unless somebody does.
  private func refresh() {
    let flight: Flight? = core.flights.begin(key) {
      Flight(key, tags: tags, near: core.near, isBackground: true)
    }
    if let flight { start(flight) }
  }
}
