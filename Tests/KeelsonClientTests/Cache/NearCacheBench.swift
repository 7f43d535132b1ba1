import KeelsonCacheRules
import KeelsonCore

@testable import KeelsonClient

/// A machine, with times in milliseconds after its beginning.
final class NearCacheBench {
  typealias Machine = NearCacheStateMachine<Int>
  static let key = NearCacheStateMachineTests.key

  private var machine: Machine

  /// A machine whose stream began at sequence 10 at the beginning, and which is in sync at a time.
  init(inSyncAt time: Int64 = 200, bytes: Int = 1 << 20, tags: Int = 100, patterns: Int = 100) {
    var settings = Machine.Settings(byteLimit: bytes, stalenessLimit: .milliseconds(100))
    settings.tags = tags
    settings.patterns = patterns
    machine = Machine(settings, now: Self.at(0))
    start(CachePosition(epoch: 7, sequence: 10), at: 0)
    sync(at: time)
  }

  private static func at(_ milliseconds: Int64) -> CacheInstant {
    CacheInstant(microseconds: 1_000_000 + milliseconds * 1_000)
  }

  func start(_ position: CachePosition, staleness: Duration? = nil, at time: Int64) {
    machine.start(at: position, staleness: staleness, now: Self.at(time))
  }
  func disconnect(at time: Int64) { machine.disconnect(at: Self.at(time)) }
  func hear(_ sequence: UInt64, _ scope: Invalidation.Scope, at time: Int64 = 203) {
    machine.hear(.init(sequence: sequence, scope: scope), now: Self.at(time))
  }
  func tick(at time: Int64) -> Machine.Tick { machine.tick(at: Self.at(time)) }
  func pong(_ number: UInt64, age: Duration? = .zero) { machine.pong(number, age: age) }

  func sync(at time: Int64, age: Duration? = .zero) {
    _ = machine.look("acme:test:thing:none", at: Self.at(time))
    guard case .ping(let number, _) = tick(at: time) else { return }
    pong(number, age: age)
  }

  func begin(_ key: String = NearCacheBench.key, at time: Int64) -> Machine.Ticket {
    machine.begin(key, at: Self.at(time))
  }
  func keep(_ answer: Machine.Answer, of ticket: Machine.Ticket, at time: Int64) -> Bool {
    machine.keep(answer, of: ticket, at: Self.at(time))
  }
  func end(_ ticket: Machine.Ticket) { machine.end(ticket) }

  /// A whole call.
  @discardableResult
  func keep(
    _ answer: Machine.Answer, key: String = NearCacheBench.key, began: Int64 = 200,
    at time: Int64 = 201
  ) -> Bool {
    let ticket = begin(key, at: began)
    defer { end(ticket) }
    return keep(answer, of: ticket, at: time)
  }

  func look(at time: Int64) -> Machine.Look { machine.look(Self.key, at: Self.at(time)) }
  func value(of key: String = NearCacheBench.key, at time: Int64 = 210) -> Int? {
    if case .hit(let value, _) = machine.look(key, at: Self.at(time)) { value } else { nil }
  }
  func wantsRefresh(at time: Int64) -> Bool? {
    if case .hit(_, let wants) = look(at: time) { wants } else { nil }
  }
  func wakes(at time: Int64) -> Bool? {
    if case .miss(let wakes) = look(at: time) { wakes } else { nil }
  }

  /// - Parameter asked: when the call was made that answered it.
  func judge(
    _ position: CachePosition?, tags: [String] = [], asked: Int64 = 200, at time: Int64 = 210
  ) -> CacheProvenance.Judgement {
    let asOf = machine.asOf(Self.at(asked))
    return machine.judge(
      Self.key, .init(position: position, tags: tags, asOf: asOf), at: Self.at(time))
  }
  func void(_ scopes: [Invalidation.Scope], _ position: CachePosition, at time: Int64) {
    machine.voided(scopes, at: position, now: Self.at(time))
  }
  func drop(at time: Int64) { machine.dropped(Self.key, now: Self.at(time)) }

  var count: Int { machine.count }
  var bytes: Int { machine.bytes }
  var flushes: UInt64 { machine.flushes }
  var refusals: UInt64 { machine.refusals }
  var invalidations: UInt64 { machine.invalidations }
  var stream: CachePosition? { machine.position }
}
