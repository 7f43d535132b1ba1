import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// Copies of the cache's entries in this process, decoded.
///
/// Lock order: under its lock no other is taken. See ``CacheCore``.
final class NearCache: Sendable {
  typealias Instant = CacheInstant
  typealias Machine = NearCacheStateMachine<any NearValue>

  private let machine: Mutex<Machine>
  /// Whether copies are kept at all.
  let isOn: Bool
  /// Set when pings are to be sent again.
  let wakeup = Wakeup()

  init(byteLimit: Int, stalenessLimit: Duration, silenceLimit: Duration) {
    isOn = byteLimit > 0
    var settings = Machine.Settings(byteLimit: byteLimit, stalenessLimit: stalenessLimit)
    settings.silenceLimit = silenceLimit
    machine = Mutex(Machine(settings, now: .now))
  }

  // MARK: Use

  /// A copy, and whether somebody should load it anew; nil: there is none.
  func look(_ key: String) -> (value: any NearValue, wantsRefresh: Bool)? {
    guard isOn else { return nil }
    let look = machine.withLock { $0.look(key, at: .now) }
    switch look {
    case .hit(let value, let wantsRefresh): return (value, wantsRefresh)
    case .miss(let wakes):
      if wakes { wakeup.set() }
      return nil
    }
  }

  func begin(_ key: String) -> Machine.Ticket {
    machine.withLock { $0.begin(key, at: .now) }
  }

  func end(_ ticket: Machine.Ticket) {
    machine.withLock { $0.end(ticket) }
  }

  @discardableResult
  func keep(_ answer: Machine.Answer, of ticket: Machine.Ticket) -> Bool {
    guard isOn else { return false }
    return machine.withLock { $0.keep(answer, of: ticket, at: .now) }
  }

  /// Whether something that came of a call or a load may be given now.
  func judge(_ key: String, _ value: CacheProvenance) -> CacheProvenance.Judgement {
    machine.withLock { $0.judge(key, value, at: .now) }
  }

  /// How old what is given may be.
  var limit: Duration { machine.withLock { $0.limit } }

  /// As of when the answer to a call is true that was made then.
  func asOf(_ asked: Instant) -> Instant { machine.withLock { $0.asOf(asked) } }

  /// This process has made something void.
  func voided(_ scopes: [KeelsonCacheRules.Invalidation.Scope], at position: CachePosition) {
    machine.withLock { $0.voided(scopes, at: position, now: .now) }
  }

  /// This process has taken a key out, nobody says at which place.
  func dropped(_ key: String) {
    machine.withLock { $0.dropped(key, now: .now) }
  }

  // MARK: The stream

  /// Takes in what the stream tells.
  func take(_ response: KeelsonCacheV1.WatchInvalidationsResponse) {
    switch response.event {
    case .start(let start):
      let position = CachePosition(epoch: start.epoch, sequence: start.sequence)
      let staleness = start.staleness?.clampedDuration
      machine.withLock { $0.start(at: position, staleness: staleness, now: .now) }
    case .invalidation(let told):
      let invalidation = Invalidation(sequence: told.sequence, scope: told.scope)
      machine.withLock { $0.hear(invalidation, now: .now) }
    case .pong(let pong):
      let age = pong.inSync ? pong.age?.clampedDuration ?? .zero : nil
      machine.withLock { $0.pong(pong.ping, age: age) }
    case nil: break
    }
  }

  func tick() -> Machine.Tick {
    machine.withLock { $0.tick(at: .now) }
  }

  func disconnect() {
    machine.withLock { $0.disconnect(at: .now) }
  }

  /// Where the stream stands; nil without one.
  var position: CachePosition? { machine.withLock { $0.position } }

  /// What `CacheStatus` says of it.
  func describe(in status: inout CacheStatus) {
    let now = Instant.now
    machine.withLock { machine in
      status.copies = machine.count
      status.copyBytes = machine.bytes
      status.isInSync = machine.isInSync(at: now)
      status.invalidations = machine.invalidations
      status.flushes = machine.flushes
      status.nearHits = machine.hits
    }
  }
}

/// What a copy holds: a value of some type, or that there is none.
protocol NearValue: AnyObject, Sendable {}

final class NearPresent<Value: Sendable>: NearValue {
  let value: Value

  init(_ value: Value) {
    self.value = value
  }
}

final class NearAbsent: NearValue {}

extension KeelsonCacheV1.Invalidation {
  /// What is not understood is taken for everything.
  fileprivate var scope: KeelsonCacheRules.Invalidation.Scope {
    if all { return .all }
    if !keys.isEmpty, tags.isEmpty, patterns.isEmpty { return .keys(keys) }
    if !tags.isEmpty, keys.isEmpty, patterns.isEmpty { return .tags(tags) }
    if patterns.count == 1, keys.isEmpty, tags.isEmpty,
      let pattern = try? CachePattern(patterns[0])
    {
      return .pattern(pattern)
    }
    return .all
  }
}
