import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

/// The live side of `WatchSettings`.
typealias ConfigurationWatches = Broadcast<ConfigurationTopic>

/// What is watched.
struct ConfigurationTopic: Sendable, Hashable {
  var scope: ConfigurationScope
  /// Whether its watchers are told secrets.
  var reveals: Bool
}

extension Broadcast where Topic == ConfigurationTopic {
  convenience init(limits: ConfigurationLimits, book: ConfigurationBook) {
    self.init(
      limits: Limits(
        subscribers: limits.watchers, messagesBehind: limits.changesBehind,
        bytesBehind: limits.changeBytesBehind, heartbeatInterval: limits.heartbeatInterval)
    ) { topic, revision, interval in
      var response = KeelsonConfigurationV1.WatchSettingsResponse()
      response.revision = revision
      response.layers = book.room(topic.scope).room.lower.tag
      var heartbeat = KeelsonConfigurationV1.Heartbeat()
      heartbeat.interval = GoogleProtobuf.Duration(interval)
      response.event = .heartbeat(heartbeat)
      return response.encoded()
    }
  }
}
