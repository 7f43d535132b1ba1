import KeelsonCore

extension Broadcast {
  /// Serves one watch until its caller leaves or the server stops.
  ///
  /// - Parameters:
  ///   - sendPast: brings the subscriber up to a revision and returns it, or a later one that a
  ///     snapshot has brought it to.
  ///   - sendSnapshot: sends a snapshot and returns its revision.
  /// - Throws: `CancellationError` when the call ends; `RPCError` UNAVAILABLE when the server is
  ///   stopping; what ``enter(_:)`` and the parameters throw.
  package func serve<Response>(
    _ topic: Topic, to responses: ResponseWriter<Response>,
    sendPast: (Int64) async throws -> Int64, sendSnapshot: () async throws -> Int64
  ) async throws {
    // The order matters: changes after `entered` wait in the list while the past is sent.
    let entered = try enter(topic)
    defer { leave(topic) }
    var position = entered.position
    var sent = try await sendPast(entered.revision)
    while true {
      switch try await next(topic, at: position) {
      case .messages(let messages, let next):
        for message in messages
        where message.revision > sent || (message.isHeartbeat && message.revision == sent) {
          try await responses.write(encoded: message.bytes)
          sent = message.revision
        }
        position = next
      case .behind:
        position = end(of: topic).position
        sent = try await sendSnapshot()
      case .closed:
        throw RPCError(
          .unavailable, "The server is stopping; connect again and resume.",
          details: [.retryInfo(.seconds(1))])
      }
    }
  }

  /// The snapshot of a topic, made anew only if something has changed since the last.
  ///
  /// - Parameter make: the encoded snapshot, and the revision it is of.
  package func snapshot(
    _ topic: Topic, at revision: Int64, make: () async throws -> (revision: Int64, bytes: [UInt8])
  ) async throws -> Message {
    if let kept = snapshot(topic, revision: revision) { return kept }
    let made = try await make()
    return keep(
      Message(revision: made.revision, isHeartbeat: false, bytes: made.bytes), for: topic)
  }
}
