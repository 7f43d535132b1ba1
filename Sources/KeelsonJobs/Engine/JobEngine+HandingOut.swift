import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// What a worker would take.
  struct Demand: Sendable {
    var session: String
    var worker: String
    var queues: Set<String>
    var kinds: Set<String>
    var credit: Int
  }

  /// A kind in a queue.
  struct Lane: Sendable, Hashable {
    var queue: String
    var kind: String
  }

  struct Claims: Sendable {
    var jobs: [StoredJob] = []
    /// Lanes that may have more.
    var more: Set<Lane> = []
    /// Lanes whose queue is paused or at a limit: until something there ends, or the time comes.
    var blocked: Set<Lane> = []
    /// After which time a limit of the rate lets more jobs begin.
    var pause: Duration?
  }

  /// Hands out jobs that are pending, by rank, to workers that would take them.
  ///
  /// - Parameter lanes: where there may be some.
  func claim(_ demands: [Demand], lanes: [Lane]) async throws -> Claims {
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var round = ClaimRound(
          demands: demands, limit: limits.claimsPerRound, time: change.time)
        for (queue, lanes) in Dictionary(grouping: lanes, by: \.queue) {
          try await gather(queue, lanes, into: &round, in: change)
        }
        let assigned = round.assign()
        let begun = round.begun()
        guard !assigned.isEmpty else { throw Nothing(value: round.claims) }
        let claims = JobRepository.claims(
          assigned, lease: limits.lease, now: change.time, dialect: database.dialect)
        var counts = JobCounts()
        for job in assigned {
          counts.add(-1, to: .pending, queue: job.lane.queue, kind: job.lane.kind)
          counts.add(1, to: .running, queue: job.lane.queue, kind: job.lane.kind)
        }
        let rows = try await change.queryAll(
          claims + counts.statements + begun.map(QueueRepository.begun))
        let jobs = try rows.prefix(claims.count).joined().map(StoredJob.init)
        guard jobs.count == assigned.count else {
          throw StoreError(.corrupt, "A pending job was another's while nobody else could write.")
        }
        change.emit(.statusChanged, jobs.map { JobNews($0) })
        round.claims.jobs = jobs
        return round.claims
      }
    } catch let nothing as Nothing<Claims> {
      return nothing.value
    }
  }

  /// Adds what a queue could give now.
  private func gather(
    _ queue: String, _ lanes: [Lane], into round: inout ClaimRound, in change: Change
  ) async throws {
    // All that is asked for mostly, in one go.
    let wanted = lanes.map { min(round.limit, round.credit(for: $0)) }
    let rows = try await change.queryAll(
      [QueueRepository.settings(of: queue), QueueRepository.running(in: queue)]
        + zip(lanes, wanted).map {
          JobRepository.candidates(queue: queue, kind: $0.kind, limit: $1)
        })
    let settings = try rows[0].first.map(QueueRepository.decode)
    guard settings?.isPaused != true else {
      round.claims.blocked.formUnion(lanes)
      return
    }
    var room = QueueRoom(count: round.limit)
    if let settings, settings.limits.concurrency > 0 {
      let running: Int = try rows[1].first?.get(0) ?? 0
      room.limit(to: Int(settings.limits.concurrency) - running)
    }
    if let settings, settings.limits.rate > 0 {
      room.limit(to: settings.rateLeft(at: change.time))
      if room.count == 0 { round.waitUntil(settings.ratePeriodEnd) }
    }
    guard room.count > 0 else {
      round.claims.blocked.formUnion(lanes)
      return
    }
    if let settings, settings.limits.concurrencyPerKey > 0 {
      room.perKey = Int(settings.limits.concurrencyPerKey)
      room.runningKeys = try await JobRepository.runningKeys(queue: queue, in: change)
    }
    for (index, lane) in lanes.enumerated() {
      let wanted = min(room.count, wanted[index])
      guard wanted > 0 else { continue }
      guard room.perKey != nil else {
        let found = try rows[2 + index].prefix(wanted).map(JobRepository.Candidate.init)
        round.add(found, of: lane, isCut: found.count == wanted)
        continue
      }
      let (found, isCut) = try await candidates(of: lane, wanted, room, in: change)
      round.add(found, of: lane, isCut: isCut)
      // It may have jobs of keys at their limit, which were passed over.
      round.claims.blocked.insert(lane)
    }
    round.rooms[queue] = room
    if let settings, settings.limits.rate > 0 { round.rated[queue] = settings }
  }

  /// Pending jobs of keys that may run more. By rank, as far as a look goes; where jobs of full keys
  /// stand in front, key by key, from anywhere, so that each look sees others.
  private func candidates(
    of lane: Lane, _ wanted: Int, _ room: QueueRoom, in change: Change
  ) async throws -> (found: [JobRepository.Candidate], isCut: Bool) {
    let seen = max(Self.leastSeen, 2 * wanted)
    let first = try await JobRepository.candidates(
      queue: lane.queue, kind: lane.kind, limit: seen, in: change)
    var places = room
    var found = first.filter { places.take($0.key) }
    if found.count < wanted, first.count == seen {
      let running = room.runningKeys.keys.randomElement() ?? ""
      let start = Bool.random() ? running : ""
      var more = try await JobRepository.candidatesWithoutKey(
        queue: lane.queue, kind: lane.kind, limit: wanted, in: change)
      more += try await JobRepository.firstOfKeys(
        queue: lane.queue, kind: lane.kind, after: start, in: change)
      let known = Set(found.map(\.id))
      let fresh = more.filter { !known.contains($0.id) && places.take($0.key) }
      found += fresh
      // Of each key it has seen the first only.
      if !fresh.isEmpty { return (Array(found.prefix(wanted)), true) }
    }
    return (Array(found.prefix(wanted)), found.count >= wanted)
  }

  /// How many jobs a look by rank sees at least, where some may not run.
  private static let leastSeen = 200
}
