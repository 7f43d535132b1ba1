package import KeelsonAPI
import KeelsonCacheRules
package import KeelsonCore
import KeelsonStore

extension CacheService {
  package func getEntry(_ request: API.GetEntryRequest, context: ServerContext) async throws
    -> API.GetEntryResponse
  {
    try validation.checkKey(request.key, field: "key")
    let found = try await mapped { () async throws(CacheEngineError) in
      try await engine.get([request.key])
    }
    return response(found[0], for: request.key, at: .now)
  }

  package func batchGetEntries(
    _ request: API.BatchGetEntriesRequest, context: ServerContext
  ) async throws -> API.BatchGetEntriesResponse {
    try validation.checkKeys(request.keys, isDistinct: true)
    var found: [CacheEntry?] = []
    var bytes = 0
    // In slices, so that no more comes out of the engine than may go into the answer.
    var largest = Self.assumedValueBytes
    while found.count < request.keys.count {
      let slice = min(
        max(1, (limits.batchBytes - bytes) / largest), request.keys.count - found.count)
      let keys = Array(request.keys[found.count..<found.count + slice])
      let part = try await mapped { () async throws(CacheEngineError) in
        try await engine.get(keys)
      }
      for entry in part {
        let size = entry?.value.count ?? 0
        bytes += size
        largest = max(largest, size)
      }
      guard bytes <= limits.batchBytes else {
        throw RPCError(
          .resourceExhausted,
          "The values come to more than \(limits.batchBytes) bytes together "
            + "('cache-batch-size'); ask for fewer keys at a time.")
      }
      found += part
    }
    return response(found, for: request.keys)
  }

  /// What a slice is sized by until a larger value is seen.
  private static let assumedValueBytes = 4 << 10

  /// The same without waiting, in this process's memory.
  func getEntryNow(_ request: API.GetEntryRequest, from memory: MemoryCacheEngine) throws
    -> API.GetEntryResponse
  {
    try validation.checkKey(request.key, field: "key")
    return response(memory.getNow(request.key), for: request.key, at: .now)
  }

  func response(_ found: [CacheEntry?], for keys: [String]) -> API.BatchGetEntriesResponse {
    let now = UnixTime.now
    var response = API.BatchGetEntriesResponse()
    response.responses = zip(found, keys).map { self.response($0, for: $1, at: now) }
    return response
  }

  private func response(_ found: CacheEntry?, for key: String, at now: UnixTime)
    -> API.GetEntryResponse
  {
    count(key, isHit: found != nil)
    var response = API.GetEntryResponse()
    guard let found else { return response }
    response.entry = API.Entry(found, at: now)
    response.epoch = found.position.epoch
    return response
  }

  package func setEntry(_ request: API.SetEntryRequest, context: ServerContext) async throws
    -> API.SetEntryResponse
  {
    let write = try validation.write(request)
    let lease = try request.lease.map { try validation.lease($0, field: "lease") }
    let outcome = try await mapped { () async throws(CacheEngineError) in
      if let lease { return try await engine.fill(write, under: lease) }
      return try await engine.set([write])[0]
    }
    return response(outcome, of: write, context)
  }

  /// The same without waiting, in this process's memory.
  func setEntryNow(
    _ request: API.SetEntryRequest, in memory: MemoryCacheEngine, context: ServerContext
  ) throws -> API.SetEntryResponse {
    let write = try validation.write(request)
    if let lease = request.lease {
      return response(
        memory.fillNow(write, under: try validation.lease(lease, field: "lease")), of: write,
        context)
    }
    return response(memory.setNow(write), of: write, context)
  }

  package func batchSetEntries(
    _ request: API.BatchSetEntriesRequest, context: ServerContext
  ) async throws -> API.BatchSetEntriesResponse {
    let requests = request.requests
    guard (1...limits.batch).contains(requests.count) else {
      throw RPCError.invalidArgument(
        field: "requests",
        "has \(requests.count) entries; 1 to \(limits.batch) are allowed ('cache-batch')")
    }
    let bytes = requests.reduce(0) { $0 + $1.value.count }
    guard bytes <= limits.batchBytes else {
      throw RPCError.invalidArgument(
        field: "requests",
        "has values of \(bytes) bytes together; \(limits.batchBytes) are allowed "
          + "('cache-batch-size')")
    }
    let writes = try requests.enumerated().map {
      try validation.write($1, prefix: "requests[\($0)].")
    }
    let leases = try requests.enumerated().map { index, request in
      try request.lease.map { try validation.lease($0, field: "requests[\(index)].lease") }
    }
    var outcomes = [CacheWriteOutcome?](repeating: nil, count: writes.count)
    let plain = writes.indices.filter { leases[$0] == nil }
    try await mapped { () async throws(CacheEngineError) in
      if !plain.isEmpty {
        for (index, outcome) in zip(plain, try await engine.set(plain.map { writes[$0] })) {
          outcomes[index] = outcome
        }
      }
      for (index, lease) in leases.enumerated() {
        if let lease { outcomes[index] = try await engine.fill(writes[index], under: lease) }
      }
    }
    var response = API.BatchSetEntriesResponse()
    response.responses = zip(outcomes, writes).map {
      self.response($0 ?? .leaseLost, of: $1, context)
    }
    return response
  }

  private func response(
    _ outcome: CacheWriteOutcome, of write: CacheWrite, _ context: ServerContext
  ) -> API.SetEntryResponse {
    var response = API.SetEntryResponse()
    switch outcome {
    case .stored(let position, let isLocal):
      response.stored = true
      response.stamp = position.sequence
      response.epoch = position.epoch
      response.fallback = isLocal
      counters.add(to: .sets)
      announcer.added(write, at: position, isLocal: isLocal, origin: ChangeOrigin(context))
    case .leaseLost:
      response.reason = .leaseLost
      counters.add(to: .setsRefused)
    case .full:
      response.reason = .full
      counters.add(to: .setsRefused)
    }
    return response
  }

  package func touchEntries(_ request: API.TouchEntriesRequest, context: ServerContext) async throws
    -> API.TouchEntriesResponse
  {
    try validation.checkKeys(request.keys)
    let lifetime = try validation.lifetime(request.lifetime, field: "lifetime")
    var response = API.TouchEntriesResponse()
    response.found = try await mapped { () async throws(CacheEngineError) in
      try await engine.touch(request.keys, lifetime)
    }
    return response
  }

  package func deleteEntries(
    _ request: API.DeleteEntriesRequest, context: ServerContext
  ) async throws -> API.DeleteEntriesResponse {
    try validation.checkKeys(request.keys)
    let done = try await mapped { () async throws(CacheEngineError) in
      try await engine.delete(request.keys)
    }
    counters.add(request.keys.count, to: .keyInvalidations)
    announcer.invalidated(
      .keys(request.keys), at: done.position, origin: ChangeOrigin(context))
    var response = API.DeleteEntriesResponse()
    response.found = done.found
    response.sequence = done.position.sequence
    response.epoch = done.position.epoch
    return response
  }
}

extension KeelsonCacheV1.Entry {
  init(_ entry: CacheEntry, at now: UnixTime) {
    self.init()
    value = entry.value
    absent = entry.isAbsent
    tags = entry.tags
    stamp = entry.position.sequence
    freshFor = .init(now.duration(to: entry.freshUntil))
    ttl = .init(entry.ttl)
  }
}
