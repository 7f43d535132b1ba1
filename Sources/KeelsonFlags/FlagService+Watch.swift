package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension FlagService {
  package func watchFlags(
    _ request: KeelsonFlagsV1.WatchFlagsRequest,
    responses: ResponseWriter<KeelsonFlagsV1.WatchFlagsResponse>, context: ServerContext
  ) async throws {
    let topic = FlagTopic(
      set: try setName(request.flagSet), environment: try environmentName(request.environment))
    guard request.resumeRevision >= 0 else {
      throw RPCError.invalidArgument(
        field: "resume_revision", "\(request.resumeRevision) is negative")
    }
    guard book.rules(set: topic.set, environment: topic.environment) != nil else {
      throw FlagService.noSet(topic.set, field: "flag_set")
    }
    try await watches.serve(topic, to: responses) { current in
      try await sendPast(topic, after: request.resumeRevision, upTo: current, to: responses)
    } sendSnapshot: {
      try await sendSnapshot(topic, to: responses)
    }
  }

  /// Brings a new subscriber up to a revision: by the changes after the one it names, or by a
  /// snapshot where it names none, one that is not kept any more, or one from the future (of a
  /// database that was since restored).
  ///
  /// - Returns: the revision that the subscriber is up to now.
  private func sendPast(
    _ topic: FlagTopic, after resume: Int64, upTo current: Int64,
    to responses: ResponseWriter<KeelsonFlagsV1.WatchFlagsResponse>
  ) async throws -> Int64 {
    guard resume > 0 else { return try await sendSnapshot(topic, to: responses) }
    if resume > current {
      // Another node may have told of it already: then what comes after it comes here, too, and a
      // snapshot would take the subscriber back.
      guard try await read({ try await $0.currentRevision() }) >= resume else {
        return try await sendSnapshot(topic, to: responses)
      }
      try await responses.write(encoded: watches.heartbeat(topic, revision: resume))
      return resume
    }
    guard resume < current else {
      try await responses.write(encoded: watches.heartbeat(topic, revision: current))
      return current
    }
    guard let events = try await events(after: resume) else {
      return try await sendSnapshot(topic, to: responses)
    }
    var hasSent = false
    for event in events where event.revision <= current {
      guard let change = try FlagRuleBook.Change(event), change.setKey == topic.set else {
        continue
      }
      try await responses.write(
        encoded: FlagWatches.encoded(change, revision: event.revision, in: topic.environment))
      hasSent = true
    }
    if !hasSent {
      try await responses.write(encoded: watches.heartbeat(topic, revision: current))
    }
    return current
  }

  /// The events of this service after a revision; nil when they are too many or too old.
  private func events(after revision: Int64) async throws -> [CommittedEvent]? {
    do {
      let events = try await database.feed.events(
        after: revision, filter: EventFilter(typePrefix: FlagEvent.typePrefix),
        limit: limits.changesBehind + 1)
      return events.count > limits.changesBehind ? nil : events
    } catch let error as StoreError where error.code == .revisionTooOld {
      return nil
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  private func sendSnapshot(
    _ topic: FlagTopic, to responses: ResponseWriter<KeelsonFlagsV1.WatchFlagsResponse>
  ) async throws -> Int64 {
    let snapshot = try await watches.snapshot(topic, at: book.revision) {
      let made = book.snapshot(set: topic.set, environment: topic.environment)
      return (made.revision, made.encoded())
    }
    try await responses.write(encoded: snapshot.bytes)
    return snapshot.revision
  }
}
