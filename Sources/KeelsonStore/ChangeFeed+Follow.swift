import Synchronization

extension ChangeFeed {
  /// Reads a state and observes what comes after it: no event between the two is missed, and none
  /// comes that the state has already, whatever other nodes do meanwhile.
  ///
  /// - Parameters:
  ///   - load: reads the state and takes it in. Nothing is committed while it runs, on any node,
  ///     and the observers have been told of all that was.
  ///   - observe: as ``observe(_:)`` says.
  /// - Throws: what ``Database/write(_:)`` throws.
  @discardableResult
  package func follow<Result: Sendable>(
    from load: @escaping @Sendable (any Transaction) async throws -> Result,
    _ observe: @escaping @Sendable ([CommittedEvent]) -> Void,
    onEnd: @escaping @Sendable () -> Void = {}
  ) async throws -> Result {
    let begun = Mutex<Observation?>(nil)
    do {
      return try await database.write { transaction in
        let result = try await load(transaction)
        // On the writer's thread, which is the only one that publishes.
        let observation = self.observe(observe, onEnd: onEnd)
        begun.withLock { $0 = observation }
        return result
      }
    } catch {
      begun.withLock { $0 }?.cancel()
      throw error
    }
  }
}
