import KeelsonAPI
import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  /// Loads everything and follows the changes from then on. Called once, before the first call.
  ///
  /// - Throws: `RPCError` or `StoreError` when the database cannot be used.
  package func start() async throws {
    let loaded = try await database.feed.follow { transaction in
      (
        schemas: try await EnvironmentRepository.schemas(in: transaction),
        environments: try await EnvironmentRepository.all(in: transaction),
        settings: try await SettingRepository.everything(in: transaction),
        revision: try await transaction.currentRevision()
      )
    } taking: { stored in
      book.load(
        schemas: stored.schemas, environments: stored.environments, settings: stored.settings,
        revision: stored.revision)
      watches.advance(to: stored.revision)
      return (
        stored.schemas.count, stored.environments.map(\.0), stored.settings.count, stored.revision
      )
    } _: { [self] events in
      follow(events)
    } onEnd: { [watches] in
      // Nothing new would come: watchers are to go to another server.
      watches.close()
    }
    let (applications, stored, settings, revision) = loaded
    for scope in stored {
      await loadDataKeys(of: scope)
      for missing in dataKeys.missingKeys(of: scope) {
        logger.log(
          .warning, "Secrets cannot be opened: a key encryption key is missing.",
          ["application": scope.application, "environment": scope.environment, "key": missing])
      }
    }
    for scope in sources.scopes {
      do {
        _ = try await reload(scope, .system(), isStart: true)
      } catch let error as RPCError where error.code == .failedPrecondition {
        // Told in the log and as an event already; what can be read counts.
        continue
      }
    }
    logger.log(
      .info, "Loaded the settings.",
      [
        "settings": "\(settings)", "applications": "\(applications)",
        "revision": "\(revision)", "environment": environment,
      ])
  }

  /// Sends heartbeats to silent watches and follows the files, until the task is cancelled.
  package func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.watches.run() }
      group.addTask {
        for await scope in self.sources.changes() { await self.follow(scope) }
      }
      await group.waitForAll()
    }
  }

  /// How long to wait after a reload that the database did not take.
  private static let retryInterval: Duration = .seconds(5)

  /// Reads a scope's layers until they are taken or refused.
  private func follow(_ scope: ConfigurationScope) async {
    while !Task.isCancelled {
      do {
        _ = try await reload(scope, .system())
        return
      } catch let error as RPCError where error.code == .failedPrecondition {
        // Refused, and told in the log and as an event.
        return
      } catch {
        logger.log(
          .warning, "The layers of settings could not be taken; trying again.",
          ["application": scope.application, "error": "\(error)"])
        try? await Task.sleep(for: Self.retryInterval)
      }
    }
  }

  /// Ends all watches, so that their callers go to another server or come back later.
  package func stop() {
    watches.close()
  }

  /// Applies committed events, on the database's writer thread, before their changes are
  /// acknowledged.
  private func follow(_ events: [CommittedEvent]) {
    for event in events {
      do {
        try follow(event)
      } catch {
        logger.log(
          .error, "A committed event does not decode.",
          ["revision": "\(event.revision)", "type": event.type, "error": "\(error)"])
      }
    }
  }

  private func follow(_ event: CommittedEvent) throws {
    var effects: [ConfigurationBook.Effect] = []
    if let kind = ConfigurationEvent(rawValue: event.type), !event.payload.isEmpty {
      let change: API.StoredChange = try StoredMessage.decode(event.payload)
      switch kind {
      case .updated: effects = [book.apply(change, revision: event.revision)]
      case .encrypted:
        effects = [book.apply(change, revision: event.revision, isRenewal: true)]
      case .schemaDefined:
        effects = change.schema.map { book.apply($0, revision: event.revision) } ?? []
      case .loaded, .reloaded:
        if let effect = book.applyReload(
          change.reloadId, of: ConfigurationScope(change), revision: event.revision)
        {
          effects = [effect]
        }
      case .validated, .reloadRefused, .snapshotCreated, .snapshotDeleted: break
      }
    }
    guard effects.contains(where: { !$0.keys.isEmpty }) else {
      book.advance(to: event.revision)
      watches.advance(to: event.revision)
      return
    }
    watches.publish(revision: event.revision) { topic in
      guard let effect = effects.first(where: { $0.scope == topic.scope }) else { return .nothing }
      return news(
        topic, revision: event.revision, keys: effect.keys, tag: effect.room.lower.tag
      ) { effect.room.entries[$0] }
    }
  }
}
