import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets
import Synchronization

/// Keeps Keelson's own settings up with their files and stores while the server runs.
///
/// What is good is taken over: at once where that can be, and named in the log where it needs a
/// restart. What is not good changes nothing. Source: SYS-129.
final class SettingsWatch: Sendable {
  /// How often files are looked at. A change is read once a file has stayed the same from one look
  /// to the next: not everybody writes in one go.
  static let lookInterval: Duration = .milliseconds(500)
  /// What is taken over without a restart.
  private static let immediate = Set(
    [SettingName.logLevel, SettingName.drainTimeout]
      + ServerLimits.immediate.map(SettingName.limit))

  /// Why settings are read again.
  enum Trigger: Sendable, Equatable {
    case look
    case signal
  }

  private struct State {
    var loaded: SettingsLoader.Loaded
    /// What the server started with: what differs from it needs a restart.
    let started: EffectiveConfiguration
    var settled: SettledSignature
    var folders: [String: FolderSignature?]
    var due: [String: ContinuousClock.Instant]
  }

  private let loader: SettingsLoader
  private let logger: Logger
  private let use: @Sendable (ServerSettings) -> Void
  private let afterSignal: @Sendable () -> Void
  private let emit: @Sendable (SettingsEvent) async -> Void
  private let now: @Sendable () -> ContinuousClock.Instant
  private let state: Mutex<State>

  /// - Parameters:
  ///   - loaded: what the server started with.
  ///   - logger: the server's: a changed level is set on it.
  ///   - use: puts the settings in force that need no restart.
  ///   - afterSignal: called when a signal has had the settings read: it is for applications' layers
  ///     as well.
  ///   - emit: hears of everything that was taken over or refused.
  init(
    _ loader: SettingsLoader, loaded: SettingsLoader.Loaded, logger: Logger,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
    use: @escaping @Sendable (ServerSettings) -> Void = { _ in },
    afterSignal: @escaping @Sendable () -> Void = {},
    emit: @escaping @Sendable (SettingsEvent) async -> Void
  ) {
    self.loader = loader
    self.logger = logger
    self.use = use
    self.afterSignal = afterSignal
    self.emit = emit
    self.now = now
    let moment = now()
    var state = State(
      loaded: loaded, started: loaded.configuration,
      settled: SettledSignature([loader.signature(environment: loaded.environment)]), folders: [:],
      due: [:])
    for store in loaded.stores.stores {
      state.folders[store.kind] = store.folder?.signature
      state.due[store.kind] = store.interval.map { moment.advanced(by: $0) }
    }
    self.state = Mutex(state)
  }

  /// The stores of the secrets.
  var stores: SecretStores { state.withLock { $0.loaded.stores } }

  /// The settings as they are in force, those that need a restart apart.
  var settings: ServerSettings { state.withLock { $0.loaded.settings } }

  /// Looks again and again, and whenever a signal asks for it, until the task is cancelled.
  func run(hangups: AsyncStream<Void>) async {
    let (triggers, continuation) = AsyncStream.makeStream(of: Trigger.self)
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        while !Task.isCancelled {
          try? await Task.sleep(for: Self.lookInterval)
          continuation.yield(.look)
        }
        continuation.finish()
      }
      group.addTask { for await _ in hangups { continuation.yield(.signal) } }
      for await trigger in triggers where !Task.isCancelled { await look(trigger) }
      group.cancelAll()
    }
  }

  /// Looks once, and takes over what has changed.
  func look(_ trigger: Trigger) async {
    defer { if trigger == .signal { afterSignal() } }
    do {
      let haveSecretsChanged = try await readStores(trigger)
      guard haveFilesChanged(trigger) || haveSecretsChanged || trigger == .signal else { return }
      await take(try await loader.load(after: state.withLock { $0.loaded }))
    } catch {
      // Cancelled: the server stops.
    }
  }

  private func haveFilesChanged(_ trigger: Trigger) -> Bool {
    let files = loader.signature(environment: state.withLock { $0.loaded.environment })
    return state.withLock {
      $0.settled.hasChanged(to: [files], isAtOnce: trigger == .signal)
    }
  }

  // MARK: Stores

  /// Reads the stores whose time has come.
  ///
  /// - Returns: whether a value changed.
  private func readStores(_ trigger: Trigger) async throws -> Bool {
    var hasChanged = false
    for store in state.withLock({ $0.loaded.stores.stores }) where isDue(store, trigger) {
      let before = store.source.failure
      switch try await store.source.reload() {
      case .unchanged: break
      case .changed(let keys):
        logger.log(
          .info, "Secrets have changed.",
          ["store": store.source.name, "keys": keys.joined(separator: ", ")])
        hasChanged = true
      case .failed(let error):
        guard error != before else { continue }
        await emit(.refused(reason: error.message, problems: []))
      }
    }
    return hasChanged
  }

  private func isDue(_ store: SecretStores.Store, _ trigger: Trigger) -> Bool {
    let moment = now()
    let folder = store.folder?.signature
    return state.withLock { state in
      let hasFolderChanged = store.folder != nil && state.folders[store.kind] != .some(folder)
      state.folders[store.kind] = .some(folder)
      let isTime = state.due[store.kind].map { $0 <= moment } ?? false
      guard hasFolderChanged || isTime || trigger == .signal else { return false }
      state.due[store.kind] = store.interval.map { moment.advanced(by: $0) }
      return true
    }
  }

  // MARK: Taking over

  private func take(_ loaded: SettingsLoader.Loaded) async {
    let problems = loaded.problems + loaded.fileProblems()
    guard problems.isEmpty else {
      for problem in problems {
        logger.log(
          .error, "The changed configuration is not used, the old one stays: \(problem.message)",
          ["key": problem.key, "source": problem.source, "rule": problem.rule])
      }
      await emit(
        .refused(
          reason: "The changed configuration breaks rules.", problems: problems))
      return
    }
    let (before, started) = state.withLock { state in
      defer { state.loaded = loaded }
      return (state.loaded.configuration.settings, state.started.settings)
    }
    let after = loaded.configuration.settings
    let changed = Set(before.keys).union(after.keys)
      .filter { before[$0]?.value != after[$0]?.value }.sorted()
    guard !changed.isEmpty else {
      logger.log(.info, "The configuration was read again; nothing in it has changed.")
      return
    }
    let waiting = changed.filter {
      !Self.immediate.contains($0) && started[$0]?.value != after[$0]?.value
    }
    // Said at the old level as well as at the new one.
    logger.log(.info, "The configuration was loaded anew.", ["keys": list(changed)])
    logger.minimum = loaded.settings.logLevel
    use(loaded.settings)
    if !waiting.isEmpty {
      logger.log(
        .warning, "Some settings that have changed need a restart to be in force.",
        ["keys": list(waiting)])
    }
    await emit(.reloaded(changed: changed, needRestart: waiting))
  }

  private func list(_ keys: [String]) -> String { keys.joined(separator: ", ") }
}
