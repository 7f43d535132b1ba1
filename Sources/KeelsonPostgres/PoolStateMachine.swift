import KeelsonStore

/// Decides about the connections of one pool: who gets which, when one is made, when one goes. A
/// value without I/O: events in, actions out.
struct PoolStateMachine {
  typealias ConnectionID = Int
  typealias RequestID = UInt64

  enum Action: Equatable {
    /// Begin to connect under this number.
    case connect(ConnectionID)
    /// The request has this connection now.
    case grant(RequestID, ConnectionID)
    /// The request gets nothing.
    case refuse(RequestID, Refusal)
    /// Let go of the connection.
    case close(ConnectionID)
    /// Call ``PoolStateMachine/retryIsDue()`` after a pause that grows each time.
    case scheduleRetry
    /// The server can be reached again: pauses start short.
    case resetRetry
  }

  enum Refusal: Equatable {
    /// More wait than may.
    case overloaded
    /// The server cannot be reached: see the last failure.
    case unreachable
    case closed
  }

  private enum ConnectionState: Equatable {
    /// Can transition to: used, idle, gone.
    case connecting
    /// Since a time in milliseconds. Can transition to: used, gone.
    case idle(since: UInt64)
    /// Can transition to: used (by another), idle, gone.
    case used
  }

  private enum Server: Equatable {
    /// As far as is known. Can transition to: unreachable.
    case reachable
    /// The last attempt failed and the next is due later. Can transition to: trying.
    case unreachable
    /// An attempt is under way, after one that failed. Can transition to: reachable, unreachable.
    case trying
  }

  let limit: Int
  let waitingLimit: Int
  private var connections: [ConnectionID: ConnectionState] = [:]
  /// Idle ones, the one used last at the end.
  private var idle: [ConnectionID] = []
  private var waiting = Deque<RequestID>()
  /// Those of `waiting` that have not given up.
  private var live: Set<RequestID> = []
  private var server = Server.reachable
  /// Whether a ``retryIsDue()`` is still to come.
  private var awaitsRetry = false
  /// Attempts that began before the server was known to be back: their failure says nothing.
  private var outdated: Set<ConnectionID> = []
  private var nextConnection = 0
  private var isClosed = false

  init(limit: Int, waitingLimit: Int) {
    self.limit = limit
    self.waitingLimit = waitingLimit
  }

  var openCount: Int { connections.values.count { $0 != .connecting } }
  var usedCount: Int { connections.values.count { $0 == .used } }
  var waitingCount: Int { live.count }
  var isReachable: Bool { server == .reachable }
  private var connectingCount: Int { connections.values.count { $0 == .connecting } }

  // MARK: Requests

  mutating func request(_ id: RequestID) -> [Action] {
    guard !isClosed else { return [.refuse(id, .closed)] }
    if let connection = idle.popLast() {
      connections[connection] = .used
      return [.grant(id, connection)]
    }
    // Connections that live on while new ones cannot be made are worth waiting for.
    if server != .reachable, usedCount == 0 { return [.refuse(id, .unreachable)] }
    guard live.count < waitingLimit else { return [.refuse(id, .overloaded)] }
    waiting.append(id)
    live.insert(id)
    return connectIfNeeded()
  }

  /// A request that waits has given up; false when it does not wait any more.
  mutating func giveUp(_ id: RequestID) -> Bool { live.remove(id) != nil }

  // MARK: Connections

  mutating func connected(_ connection: ConnectionID, now: UInt64) -> [Action] {
    outdated.remove(connection)
    guard connections[connection] == .connecting else { return [.close(connection)] }
    var actions: [Action] = []
    if server != .reachable {
      server = .reachable
      actions.append(.resetRetry)
    }
    actions += offer(connection, now: now)
    return actions + connectIfNeeded()
  }

  mutating func connectingFailed(_ connection: ConnectionID) -> [Action] {
    let isOutdated = outdated.remove(connection) != nil
    guard connections.removeValue(forKey: connection) != nil, !isClosed else { return [] }
    if isOutdated, server == .reachable { return connectIfNeeded() }
    var actions: [Action] = []
    server = .unreachable
    // One retry for all attempts that fail together.
    if !awaitsRetry {
      awaitsRetry = true
      actions.append(.scheduleRetry)
    }
    if usedCount == 0 {
      while let id = popWaiting() { actions.append(.refuse(id, .unreachable)) }
    }
    return actions
  }

  /// The pause is over.
  mutating func retryIsDue() -> [Action] {
    awaitsRetry = false
    guard !isClosed, server == .unreachable else { return [] }
    server = .trying
    return [connect()]
  }

  /// The server has been reached just now, from elsewhere: requests wait for a connection again.
  mutating func serverIsBack() -> [Action] {
    guard !isClosed, server != .reachable else { return [] }
    server = .reachable
    outdated.formUnion(connections.filter { $0.value == .connecting }.keys)
    return [.resetRetry] + connectIfNeeded()
  }

  /// Its user is done with it.
  mutating func released(_ connection: ConnectionID, now: UInt64) -> [Action] {
    guard connections[connection] == .used else { return [] }
    guard !isClosed else {
      connections[connection] = nil
      return [.close(connection)]
    }
    return offer(connection, now: now)
  }

  /// It is gone, used or idle.
  mutating func lost(_ connection: ConnectionID) -> [Action] {
    guard connections.removeValue(forKey: connection) != nil else { return [] }
    idle.removeAll { $0 == connection }
    guard !isClosed else { return [] }
    guard server != .reachable, usedCount == 0 else { return connectIfNeeded() }
    var actions: [Action] = []
    while let id = popWaiting() { actions.append(.refuse(id, .unreachable)) }
    return actions
  }

  /// Closes what was idle since before a time; the one used last stays.
  mutating func closeIdle(since time: UInt64) -> [Action] {
    var actions: [Action] = []
    while idle.count > 1, let oldest = idle.first,
      case .idle(let since) = connections[oldest], since < time
    {
      idle.removeFirst()
      connections[oldest] = nil
      actions.append(.close(oldest))
    }
    return actions
  }

  /// Refuses whoever waits and lets go of what nobody uses.
  mutating func close() -> [Action] {
    guard !isClosed else { return [] }
    isClosed = true
    var actions: [Action] = []
    while let id = popWaiting() { actions.append(.refuse(id, .closed)) }
    for connection in idle {
      connections[connection] = nil
      actions.append(.close(connection))
    }
    idle = []
    // Those that connect are closed once they have.
    for (connection, state) in connections where state == .connecting {
      connections[connection] = nil
    }
    return actions
  }

  // MARK: -

  private mutating func offer(_ connection: ConnectionID, now: UInt64) -> [Action] {
    if let id = popWaiting() {
      connections[connection] = .used
      return [.grant(id, connection)]
    }
    connections[connection] = .idle(since: now)
    idle.append(connection)
    return []
  }

  private mutating func popWaiting() -> RequestID? {
    while let id = waiting.popFirst() {
      if live.remove(id) != nil { return id }
    }
    return nil
  }

  private mutating func connectIfNeeded() -> [Action] {
    guard server == .reachable, connections.count < limit, connectingCount < live.count else {
      return []
    }
    return [connect()]
  }

  private mutating func connect() -> Action {
    nextConnection += 1
    connections[nextConnection] = .connecting
    return .connect(nextConnection)
  }
}
