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

  /// How long one call waits for what another loads.
  private static var waitSlice: Duration { .milliseconds(500) }

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
    flight.fail(
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
    var refreshAfter = policy.refreshAfter
    var attempts = CacheCore.attempts
    while attempts > 0 {
      let asked = Instant.now
      flight.begins(wait > .zero ? nil : loads(asOf: core.near.asOf(asked)))
      guard let answer = await ask(wait: wait, refreshAfter: refreshAfter) else { break }
      guard !Task.isCancelled else { return core.release(answer.lease, of: key) }
      let isLast = wait == .zero && attempts == 1
      switch take(answer, asked: asked, isLast: isLast, flight, ticket) {
      case .done: return
      case .lease(let lease): return await load(flight, under: lease, asked: asked, ticket)
      case .again:
        if wait == .zero { attempts -= 1 }
        wait = .zero
      case .wrong:
        // Another type, or another version of it, has stored it. That stays for whoever reads it, until
        // there is what is loaded here: under a lease, as if its time were nearly over.
        guard refreshAfter != Self.atOnce else { return await loadAlone(flight) }
        refreshAfter = Self.atOnce
        wait = .zero
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

  /// Gives a lease beside whatever is there.
  private static var atOnce: Double { .leastNonzeroMagnitude }

  /// What begins now, without a place in the order of invalidations.
  private func loads(asOf: Instant) -> Flight.Load {
    Flight.Load(
      provenance: CacheProvenance(position: nil, tags: tags, asOf: asOf), until: .distantFuture)
  }

  private enum Step {
    case done
    case lease(KeelsonCacheV1.Lease)
    /// What was answered is void by now, or may be.
    case again
    /// What was answered is no such value.
    case wrong
    /// Another loads it.
    case wait

    var isLease: Bool {
      if case .lease = self { true } else { false }
    }

    /// For an entry that cannot be used: a lease helps, all else does not.
    var orWrong: Self { isLease ? self : .wrong }
  }

  private func take(
    _ answer: KeelsonCacheV1.GetOrLeaseResponse, asked: Instant, isLast: Bool, _ flight: Flight,
    _ ticket: NearCache.Machine.Ticket
  ) -> Step {
    let step: Step = answer.lease.map { .lease($0) } ?? (answer.leased ? .wait : .again)
    guard let entry = answer.entry else {
      core.count { $0.misses += 1 }
      return step
    }
    let provenance = core.provenance(of: entry, answer.epoch, asked: asked)
    // Decoding may take long: who comes meanwhile shares it only if it is good for him then.
    flight.begins(.init(provenance: provenance, until: .distantFuture))
    let decoded = decode(entry)
    let judgement = core.near.judge(key, provenance)
    guard judgement == .current || judgement == .late else { return step }
    let freshFor = entry.freshFor?.clampedDuration ?? .zero
    let isFresh = freshFor > .zero
    guard let (output, copy) = decoded else { return isFresh ? step.orWrong : step }
    let freshUntil = asked + freshFor
    flight.offer(
      .init(
        output: output, provenance: provenance, freshUntil: freshUntil,
        until: freshUntil + policy.staleLimit))
    guard isFresh else {
      core.count { $0.misses += 1 }
      giveStale(flight)
      return step
    }
    // Where it is late, and others came meanwhile, they are not to get it.
    guard judgement == .current || isLast || step.isLease else { return .again }
    core.count { $0.hits += 1 }
    core.keep(
      copy, of: entry, epoch: answer.epoch, ticket, refreshAfter: policy.refreshAfter)
    guard step.isLease else {
      flight.finish(.success(output))
      return .done
    }
    // It is to be loaded anew; who may have it does not wait for that.
    flight.giveInterim()
    return step
  }

  private func decode(_ entry: KeelsonCacheV1.Entry) -> (Output, any NearValue)? {
    guard !entry.absent else { return shape.absent.map { ($0, NearAbsent()) } }
    guard let value = try? CacheCoding.decode(entry.value, as: Value.self) else { return nil }
    return (shape.output(value), NearPresent(value))
  }

  /// Callers get the stale value that was offered once loading has taken as long as it may.
  private func giveStale(_ flight: Flight) {
    guard let limit = policy.softTimeout else { return }
    flight.attach(
      Task {
        guard (try? await Task.sleep(for: Instant.now.duration(to: flight.began + limit))) != nil
        else { return }
        flight.giveInterim()
      })
  }

  // MARK: Loading

  private func load(
    _ flight: Flight, under lease: KeelsonCacheV1.Lease, asked: Instant,
    _ ticket: NearCache.Machine.Ticket
  ) async {
    var load = loads(asOf: .now)
    load.provenance.position = CachePosition(epoch: lease.epoch, sequence: lease.stamp)
    load.until = asked + (lease.duration?.clampedDuration ?? policy.leaseDuration)
    flight.begins(load)
    flight.attach(
      Task { [until = load.until] in
        guard (try? await Task.sleep(for: Instant.now.duration(to: until))) != nil else { return }
        flight.leaseEnded()
      })
    do {
      let output = try await runLoader()
      await store(output, under: lease, ticket)
      flight.finish(.success(output))
    } catch {
      core.release(lease, of: key)
      flight.fail(error)
    }
  }

  /// Loads without the cache: there is none, or somebody else has the lease. Those who come within the
  /// staleness limit while it is under way share it, and those who come while the stream says that it is
  /// current; so a crowd begins another load of a key ten times a second at most while one goes on.
  private func loadAlone(_ flight: Flight) async {
    // Nothing is stored: it is for those who wait, and for nobody else.
    flight.leaseEnded()
    guard !Task.isCancelled else { return }
    var load = loads(asOf: .now)
    load.provenance.position = core.near.position
    load.until = .now + policy.leaseDuration
    flight.begins(load)
    do {
      flight.finish(.success(try await runLoader()))
    } catch {
      flight.fail(error)
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

  // MARK: Calls

  /// A lease that comes too late for this one is given back: nobody is to wait for it.
  private func ask(
    wait: Duration, refreshAfter: Double
  ) async -> KeelsonCacheV1.GetOrLeaseResponse? {
    var request = KeelsonCacheV1.GetOrLeaseRequest()
    request.key = key
    request.leaseDuration = .init(policy.leaseDuration)
    if wait > .zero { request.wait = .init(wait) }
    if refreshAfter < 1 { request.refreshAfter = refreshAfter }
    return await core.attempt(
      timeout: wait + core.configuration.callTimeout,
      late: { [core, key] in core.release($0.lease, of: key) },
      { [core, request] in try await core.service.getOrLease(request, options: $0) })
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
        return core.release(lease, of: key)
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
    guard let answer, answer.stored else {
      // Refused, lost or late: if the lease stands still, nobody is to wait for it.
      core.release(lease, of: key)
      return core.count { $0.unstored += 1 }
    }
    core.keep(
      copy, of: .init(storing: request, stamp: answer.stamp, policy), epoch: answer.epoch, ticket,
      refreshAfter: policy.refreshAfter)
  }
}
