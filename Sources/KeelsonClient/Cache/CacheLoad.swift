import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore

/// How one key is loaded and stored: what a flight does.
///
/// It asks the cache for the entry or the lease to load it. With the lease it runs the loader and
/// stores what comes of it; without, it waits for whoever has it, for a time, and then loads without
/// storing. When the cache does not answer, it just loads.
struct CacheLoad<Value: Codable & Sendable, Output: Sendable>: Sendable {
  typealias Instant = CacheInstant
  typealias Flight = CacheFlight<Output>

  /// How a value and the word that there is none come to what callers get.
  struct Shape: Sendable {
    var output: @Sendable (Value) -> Output
    /// What there being none comes to; nil: it has to be loaded all the same.
    var absent: Output?
    /// nil: there is none.
    var value: @Sendable (Output) -> Value?
  }

  let core: CacheCore
  let key: String
  let ttl: Duration?
  let tags: [String]
  let policy: CachePolicy
  let shape: Shape
  let load: @Sendable () async throws -> Output

  /// How often an entry that is of no use is asked for again.
  private static var attempts: Int { 3 }
  /// How long one call waits for what another loads.
  private static var waitSlice: Duration { .seconds(1) }

  // MARK: Copies

  /// What a copy of this process comes to; nil: there is none, or one of another type.
  func output(of copy: any NearValue) -> Output? {
    if let present = copy as? NearPresent<Value> { return shape.output(present.value) }
    return copy is NearAbsent ? shape.absent : nil
  }

  // MARK: The flight

  /// Starts a flight, whose end ``CacheFlights`` hears of.
  func start(_ flight: Flight) {
    if let limit = policy.hardTimeout {
      flight.attach(
        Task {
          guard (try? await Task.sleep(for: limit)) != nil else { return }
          timedOut(flight, limit)
        })
    }
    flight.attach(
      Task {
        await run(flight)
        core.flights.remove(flight)
        flight.cancelTasks()
      })
  }

  private func timedOut(_ flight: Flight, _ limit: Duration) {
    fail(
      flight,
      RPCError(
        .deadlineExceeded,
        "Loading '\(key)' takes longer than its hard timeout of \(limit); make the loader quicker, "
          + "or give it more time."))
    core.flights.remove(flight)
    flight.cancelTasks()
  }

  private func run(_ flight: Flight) async {
    let ticket = core.near.begin(key)
    defer { core.near.end(ticket) }
    let waitsUntil = Instant.now + policy.waitLimit
    var wait = Duration.zero
    var useless = 0
    while useless < Self.attempts, let answer = await ask(wait: wait) {
      guard !Task.isCancelled else { return release(answer.lease) }
      switch take(answer, flight, ticket) {
      case .done: return
      case .lease(let lease): return await load(flight, under: lease, ticket)
      case .void: useless += 1
      case .wrong:
        // Another type, or another version of the type, has stored it: nobody gets this one again.
        useless += 1
        guard useless < Self.attempts, await delete() else { return await loadAlone(flight) }
      case .wait:
        let left = Instant.now.duration(to: waitsUntil)
        guard left > .zero else { return await loadAlone(flight) }
        if wait == .zero { core.count { $0.waits += 1 } }
        wait = min(left, Self.waitSlice)
      }
    }
    guard !Task.isCancelled else { return }
    await loadAlone(flight)
  }

  private enum Step {
    case done
    case lease(KeelsonCacheV1.Lease)
    /// What was answered is void by now.
    case void
    /// What was answered is no such value.
    case wrong
    /// Another loads it.
    case wait

    /// For an entry that cannot be used: a lease helps, all else does not.
    var orWrong: Self {
      if case .lease = self { self } else { .wrong }
    }
  }

  private func take(
    _ answer: KeelsonCacheV1.GetOrLeaseResponse, _ flight: Flight,
    _ ticket: NearCache.Machine.Ticket
  ) -> Step {
    let step: Step = answer.lease.map { .lease($0) } ?? (answer.leased ? .wait : .void)
    guard let entry = answer.entry else {
      core.count { $0.misses += 1 }
      return step
    }
    let position = CachePosition(epoch: answer.epoch, sequence: entry.stamp)
    guard !core.near.isKnownVoid(key, position, tags: entry.tags) else { return step }
    let freshFor = entry.freshFor?.clampedDuration ?? .zero
    let isFresh = freshFor > .zero
    guard let (output, copy) = decode(entry) else { return isFresh ? step.orWrong : step }
    let interim = Flight.Interim(
      output: output, position: position, tags: entry.tags, asOf: Instant.now,
      until: flight.began + freshFor + policy.staleLimit)
    guard isFresh else {
      core.count { $0.misses += 1 }
      flight.offer(interim)
      giveStale(flight, isWaiting: answer.leased)
      return step
    }
    core.count { $0.hits += 1 }
    core.keep(
      copy, of: entry, epoch: answer.epoch, ticket, refreshAfter: policy.refreshAfter)
    guard case .lease = step else {
      flight.finish(.success(output))
      return .done
    }
    // It is to be loaded anew; nobody waits for that.
    flight.offer(interim)
    flight.giveInterim()
    return step
  }

  private func decode(_ entry: KeelsonCacheV1.Entry) -> (Output, any NearValue)? {
    guard !entry.absent else { return shape.absent.map { ($0, NearAbsent()) } }
    guard let value = try? CacheCoding.decode(entry.value, as: Value.self) else { return nil }
    return (shape.output(value), NearPresent(value))
  }

  /// Callers get the stale value that was offered once loading has taken as long as it may.
  private func giveStale(_ flight: Flight, isWaiting: Bool) {
    guard let limit = policy.softTimeout else { return }
    flight.attach(
      Task {
        guard (try? await Task.sleep(for: Instant.now.duration(to: flight.began + limit))) != nil
        else { return }
        if flight.giveInterim() { core.count { $0.staleValues += 1 } }
      })
  }

  // MARK: Loading

  private func load(
    _ flight: Flight, under lease: KeelsonCacheV1.Lease, _ ticket: NearCache.Machine.Ticket
  ) async {
    flight.loads(asOf: CachePosition(epoch: lease.epoch, sequence: lease.stamp))
    let duration = lease.duration?.clampedDuration ?? policy.leaseDuration
    flight.attach(
      Task {
        guard (try? await Task.sleep(for: duration)) != nil else { return }
        flight.leaseEnded()
      })
    do {
      let output = try await runLoader()
      await store(output, under: lease, ticket)
      flight.finish(.success(output))
    } catch {
      release(lease)
      fail(flight, error)
    }
  }

  /// Loads without the cache: there is none, or somebody else has the lease.
  private func loadAlone(_ flight: Flight) async {
    // Nothing is stored: it is for those who wait, and for nobody else.
    flight.leaseEnded()
    guard !Task.isCancelled else { return }
    flight.loads(asOf: core.near.position)
    do {
      flight.finish(.success(try await runLoader()))
    } catch {
      fail(flight, error)
    }
  }

  private func runLoader() async throws -> Output {
    core.count { $0.loads += 1 }
    do {
      return try await load()
    } catch {
      core.count { $0.loadFailures += 1 }
      throw error
    }
  }

  private func fail(_ flight: Flight, _ error: any Error) {
    if flight.fail(error) { core.count { $0.staleValues += 1 } }
  }

  // MARK: Calls

  private func ask(wait: Duration) async -> KeelsonCacheV1.GetOrLeaseResponse? {
    var request = KeelsonCacheV1.GetOrLeaseRequest()
    request.key = key
    request.leaseDuration = .init(policy.leaseDuration)
    if wait > .zero { request.wait = .init(wait) }
    if policy.refreshAfter < 1 { request.refreshAfter = policy.refreshAfter }
    return await core.attempt(timeout: wait + core.configuration.callTimeout) {
      [core, request] options in
      try await core.service.getOrLease(request, options: options)
    }
  }

  private func store(
    _ output: Output, under lease: KeelsonCacheV1.Lease, _ ticket: NearCache.Machine.Ticket
  ) async {
    var request = KeelsonCacheV1.SetEntryRequest()
    request.key = key
    request.tags = tags
    request.lease = lease
    var lifetime = policy.lifetime(ttl)
    let copy: any NearValue
    if let value = shape.value(output) {
      // What cannot be encoded is the caller's all the same.
      guard let bytes = try? CacheCoding.encode(value),
        bytes.count <= core.configuration.maximumValueBytes
      else {
        core.count { $0.unstored += 1 }
        return release(lease)
      }
      request.value = bytes
      copy = NearPresent(value)
    } else {
      request.absent = true
      lifetime.ttl = .init(policy.negativeTTL)
      lifetime.staleFor = nil
      copy = NearAbsent()
    }
    request.lifetime = lifetime
    let answer = await core.attempt(timeout: core.configuration.callTimeout) {
      [core, request] options in
      try await core.service.setEntry(request, options: options)
    }
    guard let answer else {
      // Refused, perhaps: nobody is to wait for it.
      release(lease)
      return core.count { $0.unstored += 1 }
    }
    guard answer.stored else { return core.count { $0.unstored += 1 } }
    core.keep(
      copy, of: .init(storing: request, stamp: answer.stamp, policy), epoch: answer.epoch, ticket,
      refreshAfter: policy.refreshAfter)
  }

  /// In a task of its own: the flight's may be cancelled.
  private func release(_ lease: KeelsonCacheV1.Lease?) {
    guard let lease else { return }
    let request = KeelsonCacheV1.ReleaseLeaseRequest(key: key, lease: lease)
    Task { [core] in
      _ = await core.attempt(timeout: core.configuration.callTimeout) { options in
        try await core.service.releaseLease(request, options: options)
      }
    }
  }

  private func delete() async -> Bool {
    await core.attempt(timeout: core.configuration.callTimeout) { [core, key] options in
      try await core.service.deleteEntries(.init(keys: [key]), options: options)
    } != nil
  }
}
