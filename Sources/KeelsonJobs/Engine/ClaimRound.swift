import KeelsonCore
import KeelsonStore

/// How many more jobs a queue may begin.
struct QueueRoom: Sendable {
  private(set) var count: Int
  /// How many of one key may run; nil for any number.
  var perKey: Int?
  var runningKeys: [String: Int] = [:]

  init(count: Int) {
    self.count = count
  }

  mutating func limit(to number: Int) {
    count = max(0, min(count, number))
  }

  /// Takes a place, if there is one.
  mutating func take(_ key: String) -> Bool {
    guard count > 0 else { return false }
    if let perKey, !key.isEmpty {
      guard runningKeys[key, default: 0] < perKey else { return false }
      runningKeys[key, default: 0] += 1
    }
    count -= 1
    return true
  }
}

/// One round of handing out jobs: gathers what could be given, and then gives it by rank.
struct ClaimRound {
  struct Assigned {
    var id: JobID
    var lane: JobEngine.Lane
    var worker: String
    var session: String
  }

  private struct Candidate {
    var id: JobID
    var rank: Int64
    var key: String
    var lane: JobEngine.Lane
  }

  let limit: Int
  private let time: UnixTime
  var claims = JobEngine.Claims()
  var rooms: [String: QueueRoom] = [:]
  /// The queues with a limit of their rate, as they stood.
  var rated: [String: QueueSettings] = [:]
  private var demands: [JobEngine.Demand]
  private var candidates: [Candidate] = []
  private var begunByQueue: [String: Int] = [:]

  init(demands: [JobEngine.Demand], limit: Int, time: UnixTime) {
    self.demands = demands
    self.limit = limit
    self.time = time
  }

  /// How many jobs of a lane workers would take, up to the limit of the round.
  func credit(for lane: JobEngine.Lane) -> Int {
    var credit = 0
    for demand in demands where demand.takes(lane) { credit += demand.credit }
    return min(credit, limit)
  }

  mutating func waitUntil(_ time: UnixTime) {
    let pause = self.time.duration(to: time)
    claims.pause = min(claims.pause ?? pause, pause)
  }

  /// - Parameter isCut: whether the lane has more.
  mutating func add(
    _ found: [JobRepository.Candidate], of lane: JobEngine.Lane, isCut: Bool
  ) {
    candidates += found.map { Candidate(id: $0.id, rank: $0.rank, key: $0.key, lane: lane) }
    if isCut { claims.more.insert(lane) }
  }

  /// Gives the candidates to workers, the lowest rank first; among workers to the one with the most
  /// credit.
  mutating func assign() -> [Assigned] {
    var assigned: [Assigned] = []
    var takers: [JobEngine.Lane: [Int]] = [:]
    candidates.sort { ($0.rank, $0.id) < ($1.rank, $1.id) }
    for candidate in candidates {
      guard assigned.count < limit else {
        claims.more.insert(candidate.lane)
        continue
      }
      let able =
        takers[candidate.lane]
        ?? demands.indices.filter { demands[$0].takes(candidate.lane) }
      takers[candidate.lane] = able
      guard let best = able.max(by: { demands[$0].credit < demands[$1].credit }),
        demands[best].credit > 0
      else {
        claims.more.insert(candidate.lane)
        continue
      }
      guard rooms[candidate.lane.queue]?.take(candidate.key) == true else {
        claims.blocked.insert(candidate.lane)
        continue
      }
      demands[best].credit -= 1
      begunByQueue[candidate.lane.queue, default: 0] += 1
      assigned.append(
        Assigned(
          id: candidate.id, lane: candidate.lane, worker: demands[best].worker,
          session: demands[best].session))
    }
    return assigned
  }

  /// What the queues with a limit of their rate have begun, with this round; and when those begin
  /// more that had too many.
  mutating func begun() -> [QueueSettings] {
    var changed: [QueueSettings] = []
    for (queue, settings) in rated {
      let begun = settings.adding(begun: begunByQueue[queue] ?? 0, at: time)
      if claims.blocked.contains(where: { $0.queue == queue }) { waitUntil(begun.ratePeriodEnd) }
      if begunByQueue[queue] != nil { changed.append(begun) }
    }
    return changed.sorted { $0.name < $1.name }
  }
}

extension JobEngine.Demand {
  func takes(_ lane: JobEngine.Lane) -> Bool {
    queues.contains(lane.queue) && kinds.contains(lane.kind)
  }
}
