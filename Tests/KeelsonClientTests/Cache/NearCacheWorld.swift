import KeelsonCacheRules
import KeelsonCore
import KeelsonTestKit

@testable import KeelsonClient

/// A fleet in miniature, in a time of its own: a shared engine, servers that know of invalidations a
/// little later, another client that changes things, calls and a stream with random delays, and the
/// machine under test, with flights as `remember` has them. One world in five has no stream. Every
/// step is drawn from a seed.
///
/// What it checks: nobody who asks is given what is older than an invalidation that was acknowledged
/// more than the limit before, or than one of this client's own that was acknowledged before; what is
/// said to be current is not older than the limit either; and in the end each key is kept again.
struct NearCacheWorld: ~Copyable {
  typealias Instant = CacheInstant
  typealias Machine = NearCacheStateMachine<Int>

  static let limit: Duration = .milliseconds(100)
  /// How far a server's knowledge may be behind when it answers.
  static let serverLag = 50_000
  static let keys = (0..<4).map { "acme:test:thing:\($0)" }
  static func tags(_ key: Int) -> [String] { ["tag\(key % 2)", "all"] }
  private static let patterns = ["acme:*", "*:2", "acme:test:thing:?"]

  struct Entry {
    var version: Int
    var stamp: UInt64
  }

  struct Told {
    var time: Int
    var epoch: UInt64
    var invalidation: Invalidation
  }

  enum Message {
    case start(CachePosition)
    case invalidation(Invalidation)
    case pong(UInt64, age: Duration?)
  }

  enum Event {
    case act
    case pump
    case tick
    case ping(UInt64, stream: Int)
    case deliver(Message, stream: Int)
    case connect
    /// A server answers.
    case serve(call: Int)
    case answer(call: Int)
    /// The loader has read what there is.
    case read(call: Int)
    case fill(call: Int)
    case loaded(call: Int)
  }

  /// A get, or a flight with those who share it.
  struct Call {
    enum Answer {
      case entry(Entry)
      case lease(UInt64)
      case leased
      case nothing
    }

    var key: Int
    var ticket: Machine.Ticket
    /// When each of them came.
    var callers: [Int]
    var isFlight: Bool
    /// What may be shared of it, as `CacheFlight` has it.
    var load: CacheProvenance?
    var asked = 0
    var attempts = 3
    var waits = 0
    var epoch: UInt64 = 0
    var answer = Answer.nothing
    /// What was loaded, and whether it is stored.
    var loaded: Entry?
    var isStored = false
  }

  struct Floor {
    var time: Int
    var version: Int
    /// Made by this client: it counts for who asks from then on.
    var isOwn: Bool
  }

  private var random: SeededGenerator
  var now = 1_000_000
  private var events: [(time: Int, event: Event)] = []
  // The engine, and what is true.
  var epoch: UInt64 = 1
  var sequence: UInt64 = 0
  var entries: [Int: Entry] = [:]
  var leases: [Int: UInt64] = [:]
  var versions = [0, 0, 0, 0]
  var log: [Told] = []
  /// By key: from when on a reader must not get less than a version.
  var floors: [[Floor]] = [[], [], [], []]
  // The client.
  var machine: Machine
  var calls: [Int: Call] = [:]
  var lastCall = 0
  /// By key, the call that who comes may share, if it is open.
  var flights: [Int: Int] = [:]
  private let hasStream: Bool
  private var stream = 0
  private var isConnected = false
  /// How many of the log were sent on the stream, and when its last message comes.
  private var sent = 0
  private var lastDelivery = 0

  var problems: [String] = []
  var hits = 0
  var answers = 0
  var shared = 0
  var refusals: UInt64 { machine.refusals }

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    hasStream = seed % 5 != 4
    var settings = Machine.Settings(byteLimit: 1 << 20, stalenessLimit: Self.limit)
    // So few that they are forgotten now and then.
    settings.own = 1
    settings.patterns = 2
    settings.tags = 2
    machine = Machine(settings, now: Instant(microseconds: Int64(now)))
  }

  func instant(_ time: Int) -> Instant { Instant(microseconds: Int64(time)) }

  mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

  /// Mostly short, now and then very long.
  mutating func delay() -> Int {
    switch below(10) {
    case 0: below(400_000)
    case 1, 2: below(60_000)
    default: below(3_000)
    }
  }

  mutating func schedule(_ event: Event, after delay: Int) {
    let time = now + delay
    let index = events.firstIndex { $0.time > time } ?? events.endIndex
    events.insert((time, event), at: index)
  }

  // MARK: Running

  mutating func run(steps: Int) {
    // One call about each key goes on for ever: what is remembered for its sake is never let go of.
    for key in Self.keys { _ = machine.begin(key, at: instant(now)) }
    schedule(.connect, after: 0)
    schedule(.pump, after: 0)
    schedule(.tick, after: 0)
    for _ in 0..<steps { schedule(.act, after: below(steps * 6_000)) }
    drain()
    settle()
  }

  private mutating func drain() {
    while let next = events.first {
      events.removeFirst()
      now = max(now, next.time)
      handle(next.event)
    }
  }

  /// All is quiet: what is there now must be as new as the last invalidation, and what is read now must
  /// be kept.
  private mutating func settle() {
    guard hasStream else { return }
    if !isConnected { connect() }
    drain()
    now += 1_000_000
    for told in log[sent...] { machine.hear(told.invalidation, now: instant(now)) }
    sent = log.count
    sync()
    for key in 0..<4 { look(key) }
    for key in 0..<4 {
      let (name, before) = (Self.keys[key], hits)
      let ticket = machine.begin(name, at: instant(now))
      let position = CachePosition(epoch: epoch, sequence: sequence)
      keep(Entry(version: versions[key], stamp: sequence), of: ticket, key, at: position)
      machine.end(ticket)
      look(key)
      if hits == before { problems.append("key \(key) is not kept in the end") }
    }
  }

  private mutating func sync() {
    _ = machine.look(Self.keys[0], at: instant(now))
    if case .ping(let number, _) = machine.tick(at: instant(now)) {
      machine.pong(number, age: .zero)
    }
  }

  private mutating func handle(_ event: Event) {
    switch event {
    case .act: act()
    case .pump:
      pump(asOf: now - below(Self.serverLag))
      if events.count > 1 { schedule(.pump, after: below(30_000)) }
    case .tick:
      tick()
      if events.count > 1 { schedule(.tick, after: 5_000 + below(30_000)) }
    case .connect: connect()
    case .ping(let number, let stream):
      guard stream == self.stream, isConnected else { return }
      let lag = below(Self.serverLag)
      pump(asOf: now - lag)
      send(.pong(number, age: below(20) == 0 ? nil : .microseconds(lag)))
    case .deliver(let message, let stream):
      guard stream == self.stream, isConnected else { return }
      take(message)
    case .serve(let call): serve(call)
    case .answer(let call): answer(call)
    case .read(let call): read(call)
    case .fill(let call): fill(call)
    case .loaded(let call): loaded(call)
    }
  }

  private mutating func act() {
    let key = below(4)
    switch below(20) {
    case 0..<6: look(key)
    case 6..<9: begin(key, isFlight: false)
    case 9..<14: remember(key)
    case 14, 15: change(key)
    case 16:
      // Another client loads it.
      entries[key] = entries[key] ?? Entry(version: versions[key], stamp: sequence)
    case 17: setPlainly(key)
    case 18: if below(8) == 0 { disconnect() }
    default: if below(8) == 0 { restart() }
    }
  }

  // MARK: What others do

  /// Something changes at its source, and is invalidated in one way or another.
  private mutating func change(_ key: Int) {
    versions[key] += 1
    let scope: Invalidation.Scope
    switch below(6) {
    case 0: scope = .tags([Self.tags(key)[below(2)]])
    case 1:
      guard let pattern = try? CachePattern(Self.patterns[key == 2 ? below(3) : 2 * below(2)])
      else { return }
      scope = .pattern(pattern)
    case 2: scope = below(3) == 0 ? .all : .keys([Self.keys[key]])
    default: scope = .keys([Self.keys[key]])
    }
    // Half of the time it is this client itself that does it.
    invalidate(scope, isOwn: below(2) == 0)
  }

  private mutating func invalidate(_ scope: Invalidation.Scope, isOwn: Bool) {
    sequence += 1
    log.append(
      Told(
        time: now, epoch: epoch, invalidation: Invalidation(sequence: sequence, scope: scope)))
    for key in 0..<4 where Self.isNamed(key, by: scope) {
      floors[key].append(
        Floor(time: isOwn ? now : now + 100_000, version: versions[key], isOwn: isOwn))
      guard case .keys = scope else { continue }
      entries[key] = nil
      leases[key] = nil
    }
    guard isOwn else { return }
    machine.voided(
      [scope], at: CachePosition(epoch: epoch, sequence: sequence), now: instant(now))
    for key in 0..<4 {
      if case .keys = scope, !Self.isNamed(key, by: scope) { continue }
      flights[key] = nil
    }
  }

  static func isNamed(_ key: Int, by scope: Invalidation.Scope) -> Bool {
    switch scope {
    case .keys(let keys): keys.contains(Self.keys[key])
    case .tags(let tags): !Set(tags).isDisjoint(with: Self.tags(key))
    case .pattern(let pattern): pattern.matches(Self.keys[key])
    case .all: true
    }
  }

  private mutating func setPlainly(_ key: Int) {
    invalidate(.keys([Self.keys[key]]), isOwn: below(2) == 0)
    entries[key] = Entry(version: versions[key], stamp: sequence)
  }

  /// The engine loses all it has.
  private mutating func restart() {
    epoch += 1
    sequence = 0
    entries = [:]
    leases = [:]
    sent = log.count
    if isConnected { send(.start(CachePosition(epoch: epoch, sequence: 0))) }
  }

  // MARK: The stream

  private mutating func connect() {
    guard hasStream else { return }
    stream += 1
    isConnected = true
    lastDelivery = 0
    // What the server knows may be a little old.
    let asOf = now - below(Self.serverLag)
    sent = log.firstIndex { $0.epoch == epoch && $0.time > asOf } ?? log.count
    let known = log[..<sent].last { $0.epoch == epoch }?.invalidation.sequence ?? 0
    send(.start(CachePosition(epoch: epoch, sequence: known)))
  }

  private mutating func disconnect() {
    guard isConnected else { return }
    isConnected = false
    machine.disconnect(at: instant(now))
    schedule(.connect, after: delay())
  }

  private mutating func pump(asOf: Int) {
    guard isConnected else { return }
    while sent < log.count, log[sent].time <= asOf {
      // Now and then one is lost; then the one after it shows it.
      let isLost = sent + 1 < log.count && log[sent + 1].time <= asOf && below(15) == 0
      if !isLost { send(.invalidation(log[sent].invalidation)) }
      sent += 1
      if isLost {
        send(.invalidation(log[sent].invalidation))
        sent += 1
      }
    }
  }

  private mutating func send(_ message: Message) {
    lastDelivery = max(lastDelivery, now + delay())
    schedule(.deliver(message, stream: stream), after: lastDelivery - now)
  }

  private mutating func take(_ message: Message) {
    switch message {
    case .start(let position): machine.start(at: position, now: instant(now))
    case .invalidation(let told): machine.hear(told, now: instant(now))
    case .pong(let number, let age): machine.pong(number, age: age)
    }
  }

  private mutating func tick() {
    guard isConnected else { return }
    switch machine.tick(at: instant(now)) {
    case .ping(let number, _): schedule(.ping(number, stream: stream), after: delay())
    case .giveUp: disconnect()
    case .idle, .full: break
    }
  }
}
