package import KeelsonCore
package import KeelsonTransport
import Synchronization

/// Connections to one Redis, one for each loop; each is made anew whenever it is lost.
package final class RedisPool: Sendable {
  private let members: [KeptRedisConnection]
  private let turn = Atomic<Int>(0)

  package init(_ connector: RedisConnector, loops: LoopGroup, logger: Logger) {
    members = loops.loops.map { KeptRedisConnection(connector, on: $0, logger: logger) }
  }

  /// Makes the first attempts, and returns when they have ended, well or not.
  package func start() async {
    await withTaskGroup(of: Void.self) { group in
      for member in members {
        group.addTask(executorPreference: member.loop) { await member.start() }
      }
    }
  }

  /// Closes all connections.
  package func close() async {
    await withTaskGroup(of: Void.self) { group in
      for member in members {
        group.addTask(executorPreference: member.loop) { member.close() }
      }
    }
  }

  /// The connection of the caller's loop, or of one of the loops in turn.
  ///
  /// - Throws: ``RedisError`` with code unreachable when there is none.
  package func connection() throws(RedisError) -> RedisConnection {
    if let own = members.first(where: { $0.loop.isCurrent })?.current { return own }
    let start = turn.wrappingAdd(1, ordering: .relaxed).oldValue
    for offset in 0..<members.count {
      if let connection = members[(start &+ offset) % members.count].current { return connection }
    }
    throw members[0].failure
  }
}
