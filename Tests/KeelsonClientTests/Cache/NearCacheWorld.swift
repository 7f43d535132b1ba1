import KeelsonCacheRules
import KeelsonCore
import KeelsonTestKit

@testable import KeelsonClient

/// A fleet in miniature, in a time of its own: a shared engine, servers that know of invalidations a
/// little later, another client that changes things, calls and a stream with random delays, and the
/// machine under test. Every step is drawn from a seed.
///
/// What it checks: no copy, and no answer, is older than an invalidation that was acknowledged more
/// than the limit ago.
struct NearCacheWorld: ~Copyable {
  typealias Instant = CacheInstant
  typealias Machine = NearCacheStateMachine<Int>

  static let limit: Duration = .milliseconds(100)
  /// How far a server's knowledge may be behind when it answers.
  private static let serverLag = 50_000
  private static let keys = (0..<4).map { "acme:test:thing:\($0)" }
  private static func tags(_ key: Int) -> [String] { ["tag\(key % 2)", "all"] }
  private static let patterns = ["acme:*", "*:2", "acme:test:thing:?"]

  private struct Entry {
    var version: Int
    var stamp: UInt64
  }

  private struct Told {
    var time: Int
    var epoch: UInt64
    var invalidation: Invalidation
  }

  private enum Message {
    case start(CachePosition)
    case invalidation(Invalidation)
    case pong(UInt64, age: Duration?)
  }

  private enum Event {
    case act
    case pump
    case tick
    case ping(UInt64, stream: Int)
    case deliver(Message, stream: Int)
    case connect
    /// A server answers a get.
    case serve(call: Int)
    case answer(call: Int)
    /// The loader of a lease has read what there is.
    case read(call: Int)
    case fill(call: Int)
  }

  /// A call of the client's.
  private struct Call {
    var key: Int
    var ticket: Machine.Ticket
    var began: Int
    var epoch: UInt64 = 0
    var entry: Entry?
    var lease: UInt64?
  }

  private var random: SeededGenerator
  private var now = 1_000_000
  private var events: [(time: Int, event: Event)] = []
  // The engine, and what is true.
  private var epoch: UInt64 = 1
  private var sequence: UInt64 = 0
  private var entries: [Int: Entry] = [:]
  private var leases: [Int: UInt64] = [:]
  private var versions = [0, 0, 0, 0]
  private var log: [Told] = []
  /// By key: from when on a reader must not get less than a version.
  private var floors: [[(time: Int, version: Int)]] = [[], [], [], []]
  // The client.
  private var machine: Machine
  private var calls: [Int: Call] = [:]
  private var lastCall = 0
  private var stream = 0
  private var isConnected = false
  /// How many of the log were sent on the stream, and when its last message comes.
  private var sent = 0
  private var lastDelivery = 0

  private(set) var problems: [String] = []
  private(set) var hits = 0
  private(set) var answers = 0
  var refusals: UInt64 { machine.refusals }

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    machine = Machine(
      .init(byteLimit: 1 << 20, stalenessLimit: Self.limit),
      now: Instant(microseconds: Int64(now)))
  }

  private func instant(_ time: Int) -> Instant { Instant(microseconds: Int64(time)) }

  private mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

  /// Mostly short, now and then very long.
  private mutating func delay() -> Int {
    switch below(10) {
    case 0: below(400_000)
    case 1, 2: below(60_000)
    default: below(3_000)
    }
  }

  private mutating func schedule(_ event: Event, after delay: Int) {
    let time = now + delay
    let index = events.firstIndex { $0.time > time } ?? events.endIndex
    events.insert((time, event), at: index)
  }

  // MARK: Running

  mutating func run(steps: Int) {
    schedule(.connect, after: 0)
    schedule(.pump, after: 0)
    schedule(.tick, after: 0)
    for _ in 0..<steps { schedule(.act, after: below(steps * 6_000)) }
    while let next = events.first {
      events.removeFirst()
      now = max(now, next.time)
      handle(next.event)
    }
    settle()
  }

  /// All is quiet: what is there now must be as new as the last invalidation.
  private mutating func settle() {
    now += 1_000_000
    if !isConnected { connect() }
    for told in log[sent...] { machine.hear(told.invalidation, now: instant(now)) }
    sent = log.count
    _ = machine.look(Self.keys[0], at: instant(now))
    if case .ping(let number, _) = machine.tick(at: instant(now)) {
      machine.pong(number, age: .zero)
    }
    for key in 0..<4 { look(key) }
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
    }
  }

  private mutating func act() {
    let key = below(4)
    switch below(20) {
    case 0..<10: look(key)
    case 10..<14: begin(key)
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
    invalidate(scope)
    // Half of the time it is this client itself that does it.
    guard below(2) == 0 else { return }
    let position = CachePosition(epoch: epoch, sequence: sequence)
    if case .keys(let keys) = scope {
      machine.forget(keys, before: position, now: instant(now))
    } else {
      machine.forgetAll(before: position, now: instant(now))
    }
  }

  private mutating func invalidate(_ scope: Invalidation.Scope) {
    sequence += 1
    log.append(
      Told(
        time: now, epoch: epoch, invalidation: Invalidation(sequence: sequence, scope: scope)))
    for key in 0..<4 where Self.isNamed(key, by: scope) {
      floors[key].append((now + 100_000, versions[key]))
      guard case .keys = scope else { continue }
      entries[key] = nil
      leases[key] = nil
    }
  }

  private static func isNamed(_ key: Int, by scope: Invalidation.Scope) -> Bool {
    switch scope {
    case .keys(let keys): keys.contains(Self.keys[key])
    case .tags(let tags): !Set(tags).isDisjoint(with: Self.tags(key))
    case .pattern(let pattern): pattern.matches(Self.keys[key])
    case .all: true
    }
  }

  private mutating func setPlainly(_ key: Int) {
    invalidate(.keys([Self.keys[key]]))
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
    case .idle: break
    }
  }

  // MARK: Reading

  private mutating func check(_ key: Int, _ version: Int, asOf time: Int, _ what: String) {
    for floor in floors[key] where floor.time <= time && version < floor.version {
      problems.append(
        "\(what) of key \(key) at \(now) gave version \(version); \(floor.version) was due at "
          + "\(floor.time)")
    }
  }

  private mutating func look(_ key: Int) {
    guard case .hit(let version, _) = machine.look(Self.keys[key], at: instant(now)) else {
      return
    }
    hits += 1
    check(key, version, asOf: now, "a copy")
  }

  private mutating func begin(_ key: Int) {
    lastCall += 1
    let ticket = machine.begin(Self.keys[key], at: instant(now))
    calls[lastCall] = Call(key: key, ticket: ticket, began: now)
    schedule(.serve(call: lastCall), after: delay())
  }

  /// A server that may know of tags, patterns and all a little later than they were invalidated.
  private mutating func serve(_ id: Int) {
    guard let key = calls[id]?.key else { return }
    let asOf = now - below(Self.serverLag)
    calls[id]?.epoch = epoch
    let entry = entries[key]
    let isVoid = log.contains {
      $0.epoch == epoch && $0.time <= asOf && $0.invalidation.sequence > (entry?.stamp ?? 0)
        && Self.isNamed(key, by: $0.invalidation.scope)
    }
    if let entry, !isVoid {
      calls[id]?.entry = entry
      schedule(.answer(call: id), after: delay())
    } else if leases[key] == nil {
      leases[key] = sequence
      calls[id]?.lease = sequence
      entries[key] = nil
      schedule(.read(call: id), after: delay())
    } else {
      schedule(.answer(call: id), after: delay())
    }
  }

  private mutating func read(_ id: Int) {
    guard let call = calls[id], let lease = call.lease else { return }
    calls[id]?.entry = Entry(version: versions[call.key], stamp: lease)
    schedule(.fill(call: id), after: delay())
  }

  /// What was loaded is stored if the lease stands, and only then kept.
  private mutating func fill(_ id: Int) {
    guard let call = calls[id] else { return }
    if leases[call.key] == call.lease, call.epoch == epoch {
      entries[call.key] = call.entry
      leases[call.key] = nil
    } else {
      calls[id]?.entry = nil
    }
    schedule(.answer(call: id), after: delay())
  }

  private mutating func answer(_ id: Int) {
    guard let call = calls.removeValue(forKey: id) else { return }
    defer { machine.end(call.ticket) }
    guard let entry = call.entry else { return }
    let (key, tags) = (Self.keys[call.key], Self.tags(call.key))
    let position = CachePosition(epoch: call.epoch, sequence: entry.stamp)
    guard !machine.isKnownVoid(key, position, tags: tags) else { return }
    answers += 1
    // What is given must have been good when the caller asked, and good now if that can be known.
    let isKnown =
      machine.isInSync(at: instant(now)) && machine.position?.epoch == call.epoch
      && machine.keepsFrom.map { instant(call.began) >= $0 } ?? false
    check(call.key, entry.version, asOf: isKnown ? now : call.began, "an answer")
    machine.keep(
      .init(
        value: entry.version, valueBytes: 8, position: position, tags: tags,
        freshFor: .seconds(3_600), refreshAfter: nil),
      of: call.ticket, at: instant(now))
  }
}
