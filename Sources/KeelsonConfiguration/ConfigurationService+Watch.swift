package import KeelsonAPI
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  package func watchSettings(
    _ request: API.WatchSettingsRequest,
    responses: ResponseWriter<API.WatchSettingsResponse>, context: ServerContext
  ) async throws {
    let topic = ConfigurationTopic(
      scope: try scope(request.application, request.environment), reveals: request.reveal)
    guard request.resumeRevision >= 0 else {
      throw RPCError.invalidArgument(
        field: "resume_revision", "\(request.resumeRevision) is negative")
    }
    if topic.reveals {
      try await checkEntitled(context, to: topic.scope)
      await loadDataKeys(of: topic.scope)
      try await auditReveal(of: [], in: topic.scope, context)
    }
    try await watches.serve(topic, to: responses) { current in
      try await sendPast(topic, request, upTo: current, to: responses)
    } sendSnapshot: {
      try await sendSnapshot(topic, to: responses)
    }
  }

  /// Brings a new watcher up to a revision: by the changes after the one it names, or by a snapshot
  /// where it names none, one that is not kept any more, one from the future (of a database that
  /// was since restored), or lower layers that are others now.
  ///
  /// - Returns: the revision that the watcher is up to now.
  private func sendPast(
    _ topic: ConfigurationTopic, _ request: API.WatchSettingsRequest, upTo current: Int64,
    to responses: ResponseWriter<API.WatchSettingsResponse>
  ) async throws -> Int64 {
    let resume = request.resumeRevision
    let room = book.room(topic.scope).room
    guard resume > 0, resume <= current, request.resumeLayers == room.lower.tag else {
      return try await sendSnapshot(topic, to: responses)
    }
    guard resume < current else {
      try await responses.write(encoded: watches.heartbeat(topic, revision: current))
      return current
    }
    guard let messages = try await missed(topic, room, after: resume, upTo: current) else {
      return try await sendSnapshot(topic, to: responses)
    }
    for message in messages { try await responses.write(encoded: message) }
    if messages.isEmpty {
      try await responses.write(encoded: watches.heartbeat(topic, revision: current))
    }
    return current
  }

  /// What a watcher has missed, encoded; nil when only a snapshot can tell.
  private func missed(
    _ topic: ConfigurationTopic, _ room: ConfigurationRoom, after revision: Int64,
    upTo current: Int64
  ) async throws -> [[UInt8]]? {
    let events: [CommittedEvent]
    do {
      events = try await database.feed.events(
        after: revision, filter: EventFilter(typePrefix: ConfigurationEvent.typePrefix),
        limit: limits.changesBehind + 1)
    } catch let error as StoreError where error.code == .revisionTooOld {
      return nil
    } catch let error as StoreError {
      throw RPCError(error)
    }
    guard events.count <= limits.changesBehind else { return nil }
    var messages: [[UInt8]] = []
    for event in events where event.revision <= current {
      switch ConfigurationEvent(rawValue: event.type) {
      case .updated:
        let change: API.StoredChange = try StoredMessage.decode(event.payload)
        guard ConfigurationScope(change) == topic.scope else { continue }
        let settings = Dictionary(
          change.settings.map { ($0.key, $0) }, uniquingKeysWith: { $1 })
        let news = news(
          topic, revision: event.revision, keys: change.settings.map(\.key) + change.removedKeys,
          tag: room.lower.tag
        ) { key in
          settings[key].flatMap { room.entry($0) }
            ?? room.base[key].map(ConfigurationRoom.Entry.init)
        }
        guard case .message(let bytes) = news else { return nil }
        messages.append(bytes)
      case .schemaDefined:
        let change: API.StoredChange = try StoredMessage.decode(event.payload)
        if change.application == topic.scope.application { return nil }
      case .loaded, .reloaded:
        let change: API.StoredChange = try StoredMessage.decode(event.payload)
        if ConfigurationScope(change) == topic.scope { return nil }
      default: continue
      }
    }
    return messages
  }

  /// What a change means to a topic.
  ///
  /// - Parameter entry: a key's setting after it; nil when it is gone.
  func news(
    _ topic: ConfigurationTopic, revision: Int64, keys: [String], tag: String,
    entry: (String) -> ConfigurationRoom.Entry?
  ) -> ConfigurationWatches.News {
    guard !keys.isEmpty else { return .nothing }
    var change = API.SettingsChange()
    for key in keys {
      guard let entry = entry(key) else {
        change.removedKeys.append(key)
        continue
      }
      do {
        change.settings.append(try effective(key, entry, topic))
      } catch {
        // A key that has to be loaded first, which a watcher's own task can do.
        return .snapshot
      }
    }
    var response = API.WatchSettingsResponse()
    response.revision = revision
    response.layers = tag
    response.event = .change(change)
    return .message(response.encoded())
  }

  /// - Throws: ``UnknownDataKey``, UNAVAILABLE while a key cannot be reached. A secret whose key is
  ///   missing goes without its value.
  private func effective(
    _ key: String, _ entry: ConfigurationRoom.Entry, _ topic: ConfigurationTopic
  ) throws -> API.EffectiveSetting {
    var setting = API.EffectiveSetting(
      key: key, layer: entry.layer.message, sensitive: entry.isSensitive)
    guard topic.reveals || !entry.isSensitive else { return setting }
    switch entry.content {
    case .value(let value): setting.value = value.message
    case .sealed(let sealed):
      do {
        setting.value = try dataKeys.open(sealed, key: key, of: topic.scope)
      } catch let error as RPCError where error.code != .unavailable {
        setting.value = nil
      }
    }
    return setting
  }

  private func sendSnapshot(
    _ topic: ConfigurationTopic, to responses: ResponseWriter<API.WatchSettingsResponse>
  ) async throws -> Int64 {
    let kept = watches.snapshot(topic, revision: book.revision)
    let snapshot: ConfigurationWatches.Message
    if let kept {
      snapshot = kept
    } else {
      let (made, isWhole) = try await withDataKeys(of: topic.scope) {
        let (room, revision) = self.book.room(topic.scope)
        var snapshot = API.SettingsSnapshot()
        for (key, entry) in room.entries.sorted(by: { $0.key < $1.key }) {
          snapshot.settings.append(try self.effective(key, entry, topic))
        }
        var response = API.WatchSettingsResponse()
        response.revision = revision
        response.layers = room.lower.tag
        let isWhole = snapshot.settings.allSatisfy { $0.value != nil || !topic.reveals }
        response.event = .snapshot(snapshot)
        let message = ConfigurationWatches.Message(
          revision: revision, isHeartbeat: false, bytes: response.encoded())
        return (message, isWhole)
      }
      // One with secrets left out is not for whoever comes when their key is back.
      snapshot = isWhole ? watches.keep(made, for: topic) : made
    }
    try await responses.write(encoded: snapshot.bytes)
    return snapshot.revision
  }
}
