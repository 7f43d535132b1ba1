/// The subchannels of a channel, and which of them calls take: addresses and what becomes of
/// attempts come in, actions come out. There is no I/O and no clock in here.
/// Source: grpc/grpc `doc/load-balancing.md` and `doc/connectivity-semantics-and-api.md`; gRFC A61.
///
/// Attempts are known by numbers; an attempt that succeeds gives its number to its connection.
package struct LoadBalancer {
  package typealias Instant = ContinuousClock.Instant

  package enum Action: Sendable, Hashable {
    /// Begin an attempt; report it with ``connected(attempt:at:)`` or ``failed(attempt:_:at:)``.
    case connect(attempt: Int, ServerAddress)
    /// Give up the attempt; whatever comes of it does not matter any more.
    case abandon(attempt: Int)
    /// Close the connection once its calls have ended.
    case close(connection: Int)
    /// The addresses may be out of date.
    case resolve
  }

  package let policy: LoadBalancingPolicy
  private let backoff: ConnectionBackoff
  private let attemptDelay: Duration
  private var random: any RandomNumberGenerator
  private var lastNumber = 0
  /// Whether anybody wants a connection.
  package private(set) var isActive = false
  package private(set) var subchannels: [Subchannel] = []
  /// Pick first: when the next address is tried although others may still answer.
  private var nextAttempt: Instant?
  /// The connections that take calls, in the order of their addresses.
  package private(set) var ready: [Int] = []
  private var turn = 0

  /// - Parameter attemptDelay: how long an address may not answer before pick first tries the
  ///   next beside it (RFC 8305 section 5).
  package init(
    policy: LoadBalancingPolicy, backoff: ConnectionBackoff, attemptDelay: Duration,
    random: any RandomNumberGenerator
  ) {
    self.policy = policy
    self.backoff = backoff
    self.attemptDelay = attemptDelay
    self.random = random
  }

  // MARK: What it comes to

  /// Ready with one ready subchannel; else connecting while there is one that has not failed since
  /// it last worked; else failing, until one is ready again.
  package var connectivity: ConnectivityState {
    if !ready.isEmpty { return .ready }
    if !isActive { return .idle }
    return subchannels.contains { $0.failure == nil } ? .connecting : .transientFailure
  }

  /// Why the last attempts failed, in the order of the addresses.
  package var failures: [ConnectionFailure] { subchannels.compactMap(\.failure) }

  /// When ``wake(at:)`` is to be called.
  package var wakeUp: Instant? {
    var earliest = nextAttempt
    for subchannel in subchannels {
      if let moment = subchannel.wakeUp { earliest = min(moment, earliest ?? moment) }
    }
    return earliest
  }

  /// Where in ``ready`` the next call goes; nil if nowhere.
  package mutating func pick() -> Int? {
    guard ready.count > 1 else { return ready.isEmpty ? nil : 0 }
    turn = turn + 1 < ready.count ? turn + 1 : 0
    return turn
  }

  // MARK: Events

  /// Somebody wants a connection.
  package mutating func activate(at now: Instant) -> [Action] {
    guard !isActive else { return [] }
    isActive = true
    return connectWhatIsWanted(at: now)
  }

  /// These are the addresses from now on; never none.
  package mutating func update(_ addresses: [ServerAddress], at now: Instant) -> [Action] {
    let old = Dictionary(subchannels.map { ($0.address, $0) }) { first, _ in first }
    var kept: Set<ServerAddress> = []
    let unique = addresses.filter { kept.insert($0).inserted }
    var actions = subchannels.filter { !kept.contains($0.address) }.compactMap(Self.letGo)
    subchannels = unique.map { old[$0] ?? Subchannel(address: $0) }
    listReady()
    // Pick first without its connection begins at the first address again.
    nextAttempt = nil
    if isActive { actions += connectWhatIsWanted(at: now) }
    return actions
  }

  /// The attempt has become a connection of the same number.
  package mutating func connected(attempt: Int, at now: Instant) -> [Action] {
    guard let index = index(attempt: attempt) else { return [.close(connection: attempt)] }
    subchannels[index].connected()
    var actions: [Action] = []
    if policy == .pickFirst {
      nextAttempt = nil
      for other in subchannels.indices where other != index {
        if let action = Self.letGo(subchannels[other]) { actions.append(action) }
        subchannels[other].reset()
      }
    }
    listReady()
    return actions
  }

  /// The attempt has come to nothing.
  package mutating func failed(
    attempt: Int, _ failure: ConnectionFailure, at now: Instant
  ) -> [Action] {
    guard let index = index(attempt: attempt) else { return [] }
    subchannels[index].failed(failure, at: now, backoff: backoff, using: &random)
    switch policy {
    case .roundRobin: return [.resolve]
    case .pickFirst:
      nextAttempt = nil
      let actions = tryNextAddress(at: now)
      return connectivity == .transientFailure ? actions + [.resolve] : actions
    }
  }

  /// The connection takes no new calls: it broke, or the server said GOAWAY.
  package mutating func lost(connection: Int, at now: Instant) -> [Action] {
    guard
      let index = subchannels.firstIndex(where: {
        if case .ready(connection, _) = $0.state { true } else { false }
      })
    else { return [] }
    subchannels[index].lost(at: now, backoff: backoff, using: &random)
    listReady()
    switch policy {
    case .pickFirst:
      // The next call connects: doc/connectivity-semantics-and-api.md.
      isActive = false
      return [.resolve]
    case .roundRobin:
      return [.resolve] + connectWhatIsWanted(at: now)
    }
  }

  /// The moment of ``wakeUp`` has come.
  package mutating func wake(at now: Instant) -> [Action] {
    var actions: [Action] = []
    for index in subchannels.indices where subchannels[index].wake(attempt: lastNumber + 1, at: now)
    {
      lastNumber += 1
      actions.append(.connect(attempt: lastNumber, subchannels[index].address))
    }
    if let moment = nextAttempt, now >= moment {
      nextAttempt = nil
      actions += tryNextAddress(at: now)
    }
    return actions
  }

  /// Nobody wants a connection any more: all are closed once their calls have ended.
  package mutating func deactivate() -> [Action] {
    let actions = subchannels.compactMap(Self.letGo)
    for index in subchannels.indices { subchannels[index].reset() }
    isActive = false
    nextAttempt = nil
    listReady()
    return actions
  }

  // MARK: Connecting

  private mutating func connectWhatIsWanted(at now: Instant) -> [Action] {
    switch policy {
    case .roundRobin: subchannels.indices.compactMap { connect($0, at: now) }
    case .pickFirst:
      if !ready.isEmpty {
        []
      } else if subchannels.contains(where: \.isOnItsWay) {
        delayNextAddress(from: now)
      } else {
        tryNextAddress(at: now)
      }
    }
  }

  /// Tries the first address that has not been tried yet, and sees to it that the one after that
  /// gets its turn soon.
  private mutating func tryNextAddress(at now: Instant) -> [Action] {
    guard let index = subchannels.firstIndex(where: { $0.state == .idle }) else { return [] }
    let action = connect(index, at: now)
    return (action.map { [$0] } ?? []) + delayNextAddress(from: now)
  }

  private mutating func delayNextAddress(from now: Instant) -> [Action] {
    let isOneLeft = subchannels.contains { $0.state == .idle }
    nextAttempt = isOneLeft ? now.advanced(by: attemptDelay) : nil
    return []
  }

  private mutating func connect(_ index: Int, at now: Instant) -> Action? {
    guard subchannels[index].connect(attempt: lastNumber + 1, at: now) else { return nil }
    lastNumber += 1
    return .connect(attempt: lastNumber, subchannels[index].address)
  }

  private static func letGo(_ subchannel: Subchannel) -> Action? {
    switch subchannel.state {
    case .connecting(let attempt, _): .abandon(attempt: attempt)
    case .ready(let connection, _): .close(connection: connection)
    case .idle, .spaced, .backingOff: nil
    }
  }

  private func index(attempt: Int) -> Int? {
    subchannels.firstIndex {
      if case .connecting(attempt, _) = $0.state { true } else { false }
    }
  }

  private mutating func listReady() {
    ready = subchannels.compactMap {
      if case .ready(let connection, _) = $0.state { connection } else { nil }
    }
    // Not the same one for all clients that hear of the addresses at the same moment.
    turn = ready.count > 1 ? Int.random(in: ready.indices, using: &random) : 0
  }
}
