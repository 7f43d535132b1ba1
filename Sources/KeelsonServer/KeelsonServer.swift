import KeelsonAPI
import KeelsonAudit
import KeelsonCache
import KeelsonCacheRules
import KeelsonConfiguration
package import KeelsonConfigurationRules
import KeelsonCore
import KeelsonEvents
import KeelsonFlags
import KeelsonHealth
import KeelsonJobs
import KeelsonPostgres
import KeelsonRedis
import KeelsonReflection
import KeelsonSQLite
import KeelsonSecrets
import KeelsonStore
import KeelsonTransport

/// The composition root: reads settings, builds every part, runs them and stops them in order.
package struct KeelsonServer: Sendable {
  private let loader: SettingsLoader
  private let variables: [String: String]
  private let loaded: SettingsLoader.Loaded
  private let settings: ServerSettings
  private let log: LogWriter
  private let logger: Logger

  /// Loads the settings.
  ///
  /// - Parameters:
  ///   - configuration: the folder or file of the configuration; nil: the working folder, if it has
  ///     one.
  ///   - variables: the environment of the process.
  ///   - options: the layer of the command line.
  /// - Throws: ``SettingsError`` with everything that is wrong; `CancellationError`.
  package init(
    configuration: String?, variables: [String: String], options: LayerValues
  ) async throws {
    self.variables = variables
    log = LogWriter()
    logger = log.logger(component: "server", minimum: .info)
    loader = SettingsLoader(
      path: configuration, variables: variables, options: options,
      logger: logger.component("settings"))
    do {
      loaded = try await loader.load()
      settings = try loaded.checkedWithFiles()
    } catch {
      log.flush()
      throw error
    }
    logger.minimum = settings.logLevel
  }

  /// Serves until SIGTERM or SIGINT, then drains.
  ///
  /// - Parameter onServing: called once calls are accepted, with the bound addresses.
  /// - Throws: an error whose description tells an admin what to do, when it cannot start.
  package func run(onServing: @Sendable ([ServedAddress]) -> Void) async throws {
    defer { log.flush() }
    let certificates = try settings.tls.map {
      try TLSServerCertificates($0, logger: logger.component("tls"))
    }
    let listeners = try settings.checkedListeners(certificates)
    logger.log(
      .info, "Loaded the settings.",
      [
        "environment": settings.environment, "environment_source": loaded.environmentSource,
        "files": loaded.files.isEmpty ? "none" : loaded.files.joined(separator: ", "),
        "secret_stores": loaded.stores.stores.isEmpty
          ? "none" : loaded.stores.stores.map(\.source.name).joined(separator: ", "),
      ])
    let connections = settings.limits.transport.maximumConnections
    if let fitting = OpenFiles.makeRoom(forConnections: connections) {
      logger.log(
        .warning,
        "The system lets this process open files for \(fitting) connections, fewer than the limit "
          + "'connections' of \(connections). Raise the hard limit of open files "
          + "(ulimit -Hn, LimitNOFILE), or lower 'connections'.")
    }
    // From here on a signal is not lost, however early it comes.
    let termination = try Termination()
    let startTime = ContinuousClock.now
    let loops = LoopGroup(count: settings.loops)
    do {
      let database = try await openDatabase(on: loops, until: termination)
      do {
        let redis = try await openRedis(on: loops)
        do {
          try await serve(
            database, redis, on: loops, at: listeners, with: certificates, until: termination,
            startTime: startTime, onServing: onServing)
        } catch {
          await redis?.close()
          throw error
        }
        await redis?.close()
      } catch {
        await database.close()
        throw error
      }
      await database.close()
      if let cutOff = (database as? PostgresDatabase)?.cutOff {
        throw RPCError(.unavailable, cutOff.message)
      }
    } catch {
      await loops.stop()
      throw error
    }
    await loops.stop()
    logger.log(.info, "Stopped.")
  }

  /// The embedded store, or PostgreSQL where the settings name a database there.
  private func openDatabase(
    on loops: LoopGroup, until termination: Termination
  ) async throws -> any Database {
    guard let url = settings.database else {
      var store = SQLiteConfiguration(folder: settings.dataFolder)
      store.limits = settings.limits.store
      return try SQLiteDatabase(store)
    }
    do {
      if let owner = settings.databaseOwner {
        // The tables are made and changed by their owner, and used by a role that only serves.
        let database = try await PostgresDatabase.open(
          settings.postgres(owner), loops: loops, logger: logger.component("database"))
        do {
          try await database.migrate(Self.migrations)
        } catch {
          await database.close()
          throw error
        }
        await database.close()
      }
      return try await PostgresDatabase.open(
        settings.postgres(url), loops: loops, logger: logger.component("database"),
        onCutOff: { termination.request("cut off from the database") })
    } catch let error as StoreError {
      // Its sentence says all, and never the password.
      throw RPCError(.unavailable, error.cause.map { "\(error.message) \($0)" } ?? error.message)
    }
  }

  /// The Redis that the servers share as their cache; nil where the settings name none. One that is
  /// away does not keep the server from starting.
  private func openRedis(on loops: LoopGroup) async throws -> RedisCacheEngine? {
    guard let url = settings.cache else { return nil }
    do {
      var configuration = RedisConfiguration(url: try RedisURL(url))
      configuration.limits = settings.limits.redis
      configuration.limits.staleness = settings.limits.cache.staleness
      configuration.limits.view = settings.limits.cache.view
      let redis = try RedisCacheEngine(
        configuration, loops: loops, logger: logger.component("redis"))
      do {
        try await redis.start()
      } catch {
        await redis.close()
        throw error
      }
      return redis
    } catch let error as RedisError {
      throw RPCError(.unavailable, error.message)
    } catch let error as CacheEngineError {
      throw RPCError(.unavailable, error.message)
    }
  }

  private func makeCache(
    _ redis: RedisCacheEngine?, _ database: any Database, _ telemetry: TelemetryEvents
  ) -> CacheService {
    let limits = settings.limits.cache
    let warming = WarmSets.Source(
      HTTPWarmSource(limits, caFile: settings.cacheWarmCAFile), origins: settings.cacheWarmOrigins)
    let logger = logger.component("cache")
    guard let redis else {
      return CacheService(
        database: database, limits: limits, warming: warming, telemetry: telemetry, logger: logger)
    }
    return CacheService(
      database: database, shared: redis, limits: limits, warming: warming, telemetry: telemetry,
      logger: logger)
  }

  /// Those of all services.
  private static let migrations = [
    FlagsMigrations.all, EventsMigrations.all, AuditMigrations.all, ConfigurationMigrations.all,
    JobsMigrations.all, CacheMigrations.all,
  ]

  private func serve(
    _ database: any Database, _ redis: RedisCacheEngine?, on loops: LoopGroup,
    at listeners: [(listener: ListenerConfiguration, kind: ServedAddress.Kind)],
    with certificates: TLSServerCertificates?, until termination: Termination,
    startTime: ContinuousClock.Instant, onServing: @Sendable ([ServedAddress]) -> Void
  ) async throws {
    try await database.migrate(Self.migrations)
    let telemetry = TelemetryEvents()
    let flags = FlagService(
      database: database, environment: settings.environment, limits: settings.limits.flags,
      telemetry: telemetry, logger: logger.component("flags"))
    try await flags.start()
    let events = EventService(
      database: database, telemetry: telemetry, source: try settings.checkedEventSource(),
      limits: settings.limits.events, logger: logger.component("events"))
    events.start()
    let keys = try await settings.encryption.makeKeys(
      dataFolder: settings.database == nil ? settings.dataFolder : nil,
      vault: loaded.stores.vault, logger: logger.component("keys"))
    var auditConfiguration = settings.auditConfiguration
    auditConfiguration.keyEncryptionKeys = keys
    let audit = try AuditService(
      database: database, configuration: auditConfiguration, telemetry: telemetry,
      logger: logger.component("audit"))
    try await audit.start()
    let sources = ApplicationSources(
      settings.applications, environment: settings.environment, variables: variables,
      stores: loaded.stores, logger: logger.component("configuration"))
    let configurations = try ConfigurationService(
      database: database, environment: settings.environment,
      limits: settings.limits.configuration, sources: sources, keys: keys, telemetry: telemetry,
      logger: logger.component("configuration"))
    try await configurations.start()

    let jobs = JobService(
      database: database, limits: settings.limits.jobs, logger: logger.component("jobs"))
    try await jobs.start()

    let cache = makeCache(redis, database, telemetry)

    let monitor = HealthMonitor(
      checks: [DatabaseHealthCheck(database), cache.healthCheck, jobs.healthCheck]
        + loaded.stores.healthChecks
        + sources.healthChecks, telemetry: telemetry,
      logger: logger.component("health"))
    let health = HealthService(
      monitor: monitor,
      identity: .init(
        version: KeelsonVersion.current, environment: settings.environment, startTime: startTime))
    var routes =
      flags.routes + events.routes + audit.routes + configurations.routes + jobs.routes
      + cache.routes + health.routes
    var services = Set(routes.map(\.method.service)).union(["grpc.health.v1.Health"])
    if settings.servesReflection {
      services.formUnion(ReflectionService.names)
      let index = try DescriptorIndex(serializedSet: FileDescriptors.serializedSet)
      routes += ReflectionService(index: index, services: services).routesOfAllVersions
    }
    let standardHealth = StandardHealthService(monitor: monitor, services: services)

    let metrics = CallMetrics(beside: { jobs.metricFamilies + cache.statistics.metricFamilies })
    var configuration = settings.limits.transport
    configuration.listeners = listeners.map(\.listener)
    let server = Server(
      configuration: configuration,
      routes: (routes + standardHealth.routes).map(\.bindingItsContext),
      interceptors: [
        .correlation(), .trace(), metrics.interceptor,
        CallLog(logger: logger.component("calls")).interceptor,
      ],
      plainRoutes: [metrics.route], encodeDetails: { $0.withEncodedStatus() },
      loops: loops, logger: logger.component("transport"))
    let bound = try await zip(server.start(), listeners).map { address, listener in
      ServedAddress(address: address.description, kind: listener.kind)
    }
    let watch = SettingsWatch(
      loader, loaded: loaded, logger: logger,
      use: { settings in
        flags.use(settings.limits.flags)
        events.use(settings.limits.events)
        configurations.use(settings.limits.configuration)
      },
      afterSignal: { sources.readAtOnce() },
      emit: { event in await self.record([event], in: database) })
    await record([.loaded(loaded), .validated(loaded)], in: database)
    await monitor.checkAll()
    monitor.markStarted()
    logger.log(
      .info, "Serving.",
      [
        "addresses": bound.map(\.description).joined(separator: ", "),
        "environment": settings.environment,
        "version": KeelsonVersion.current,
      ])
    onServing(bound)

    await withTaskGroup(of: Void.self) { group in
      group.addTask { await flags.run() }
      group.addTask { await events.run() }
      group.addTask { await audit.run() }
      group.addTask { await configurations.run() }
      group.addTask { await jobs.run() }
      group.addTask { await cache.run() }
      group.addTask { await monitor.run() }
      group.addTask { await watch.run(hangups: termination.hangups) }
      if let certificates { group.addTask { await certificates.watch() } }
      let signal = await termination.wait()
      let grace = watch.settings.drainGrace
      logger.log(.info, "Draining.", ["signal": signal, "grace": "\(grace)"])
      // First out of the balancers, then no more pushes, then the connections.
      monitor.markDraining()
      flags.stop()
      events.stop()
      audit.stop()
      configurations.stop()
      jobs.stop()
      cache.stop()
      monitor.report.close()
      await server.drain(grace: grace)
      group.cancelAll()
    }
  }

  /// Writes what happened to the settings. A database that cannot take it now does not keep the
  /// settings from being in force: it stands in the log as well.
  private func record(_ events: [SettingsEvent], in database: any Database) async {
    let environment = settings.environment
    do {
      try await database.change(.system()) { $0.record(events, environment: environment) }
    } catch {
      logger.log(
        .warning, "What happened to the settings could not be recorded as an event.",
        ["events": events.map(\.type).joined(separator: ", "), "cause": "\(error)"])
    }
  }
}

extension Route {
  /// The same route, whose handler's statements and calls find the call's deadline. What never
  /// waits makes none.
  fileprivate var bindingItsContext: Route {
    if case .immediate = handler { return self }
    return around([ServerInterceptor.propagation().functions(for: method).around].compactMap { $0 })
  }
}
