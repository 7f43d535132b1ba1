import KeelsonAPI
import KeelsonCore

/// The live side of `WatchFlags`.
typealias FlagWatches = Broadcast<FlagTopic>

/// What is watched.
struct FlagTopic: Sendable, Hashable {
  var set: String
  var environment: String
}

extension Broadcast where Topic == FlagTopic {
  convenience init(limits: FlagLimits) {
    self.init(
      limits: Limits(
        subscribers: limits.subscribers, messagesBehind: limits.changesBehind,
        bytesBehind: limits.changeBytesBehind, heartbeatInterval: limits.heartbeatInterval)
    ) { _, revision, interval in
      var response = KeelsonFlagsV1.WatchFlagsResponse()
      response.revision = revision
      var heartbeat = KeelsonFlagsV1.Heartbeat()
      heartbeat.interval = GoogleProtobuf.Duration(interval)
      response.event = .heartbeat(heartbeat)
      return response.encoded()
    }
  }

  /// Publishes a committed change to the environments of its set. Called in the order of revisions.
  func publish(_ change: FlagRuleBook.Change, revision: Int64) {
    publish(revision: revision) { topic in
      guard topic.set == change.setKey else { return .nothing }
      return .message(Self.encoded(change, revision: revision, in: topic.environment))
    }
  }

  static func encoded(
    _ change: FlagRuleBook.Change, revision: Int64, in environment: String
  ) -> [UInt8] {
    var response = KeelsonFlagsV1.WatchFlagsResponse()
    response.revision = revision
    response.event = .change(change.rules(in: environment))
    return response.encoded()
  }
}
