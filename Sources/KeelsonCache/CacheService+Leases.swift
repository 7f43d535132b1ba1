package import KeelsonAPI
import KeelsonCacheRules
package import KeelsonCore

extension CacheService {
  package func getOrLease(_ request: API.GetOrLeaseRequest, context: ServerContext) async throws
    -> API.GetOrLeaseResponse
  {
    let key = request.key
    try validation.checkKey(key, field: "key")
    let duration = try validation.time(
      request.leaseDuration, byDefault: .seconds(10), atLeast: .milliseconds(10),
      cutTo: limits.lease, field: "lease_duration")
    let wait = try validation.time(
      request.wait, byDefault: .zero, atLeast: .zero, cutTo: limits.wait, field: "wait")
    let refreshAfter = request.refreshAfter == 0 ? 1 : request.refreshAfter
    guard refreshAfter > 0, refreshAfter <= 1 else {
      throw RPCError.invalidArgument(
        field: "refresh_after", "is \(refreshAfter), not above 0 and at most 1")
    }
    let asked = CacheLeaseRequest(duration: duration, refreshAfter: refreshAfter)
    let deadline = ContinuousClock.now + wait
    var hasWaited = false
    while true {
      let outcome = try await mapped { () async throws(CacheEngineError) in
        try await engine.lease(key, asked)
      }
      if Task.isCancelled {
        // Nobody takes it: the next who waits gets one.
        if let lease = outcome.lease { _ = try? await engine.release(lease, of: key) }
        throw CancellationError()
      }
      let isAnswer =
        outcome.isFresh || outcome.lease != nil
        || (request.staleAtOnce && outcome.entry != nil)
      if isAnswer || ContinuousClock.now >= deadline {
        count(outcome, for: key, hasWaited: hasWaited)
        return response(outcome)
      }
      hasWaited = true
      let ends = min(deadline, outcome.leaseEnds ?? deadline)
      await engine.wait(for: key, after: outcome.ticket, until: ends)
    }
  }

  private func count(_ outcome: CacheLeaseOutcome, for key: String, hasWaited: Bool) {
    count(key, isHit: outcome.isFresh)
    if outcome.lease != nil { counters.add(to: .leases) }
    if hasWaited { counters.add(to: .leaseWaits) }
  }

  private func response(_ outcome: CacheLeaseOutcome) -> API.GetOrLeaseResponse {
    var response = API.GetOrLeaseResponse()
    if let entry = outcome.entry {
      response.entry = API.Entry(entry, at: .now)
      response.epoch = entry.position.epoch
    }
    if let lease = outcome.lease {
      var given = API.Lease()
      given.token = lease.token
      given.stamp = lease.position.sequence
      given.epoch = lease.position.epoch
      given.duration = .init(lease.duration)
      response.lease = given
    }
    response.leased = !outcome.isFresh && outcome.lease == nil
    return response
  }

  package func releaseLease(_ request: API.ReleaseLeaseRequest, context: ServerContext) async throws
    -> API.ReleaseLeaseResponse
  {
    try validation.checkKey(request.key, field: "key")
    guard let given = request.lease else {
      throw RPCError.invalidArgument(field: "lease", "is required")
    }
    let lease = try validation.lease(given, field: "lease")
    var response = API.ReleaseLeaseResponse()
    response.released = try await mapped { () async throws(CacheEngineError) in
      try await engine.release(lease, of: request.key)
    }
    return response
  }
}
