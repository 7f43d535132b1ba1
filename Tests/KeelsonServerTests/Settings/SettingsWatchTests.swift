import Foundation
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets
import Synchronization
import Testing

@testable import KeelsonServer

@Suite(.timeLimit(.minutes(5))) struct SettingsWatchTests {
  private let folder: SettingsFolder
  private let lines = Lines()
  private let events = Events()
  private let used = Used()
  private let signals = Signals()

  private final class Lines: Sendable {
    let all = Mutex<[String]>([])
    var logger: Logger {
      Logger(component: "test", minimum: .info, humanReadable: false) { line in
        self.all.withLock { $0.append(line) }
      }
    }
    func have(_ words: String) -> Bool { all.withLock { $0.contains { $0.contains(words) } } }
  }

  private final class Events: Sendable {
    let all = Mutex<[SettingsEvent]>([])
    var last: SettingsEvent? { all.withLock { $0.last } }
    var count: Int { all.withLock { $0.count } }
  }

  private final class Used: Sendable {
    let all = Mutex<[ServerLimits]>([])
  }

  private final class Signals: Sendable {
    let all = Mutex(0)
  }

  private final class Hand: Sendable {
    let ahead = Mutex<Duration>(.zero)
    let start = ContinuousClock.now
    var now: ContinuousClock.Instant { start.advanced(by: ahead.withLock { $0 }) }
  }

  init() throws { folder = try SettingsFolder() }

  private func watch(
    _ logger: Logger, _ text: String, clock: Hand = Hand()
  ) async throws -> SettingsWatch {
    try folder.write("appsettings.json", text)
    let loader = folder.loader(logger: logger)
    let loaded = try await loader.load()
    #expect(loaded.problems == [])
    let events = events
    let (used, signals) = (used, signals)
    return SettingsWatch(
      loader, loaded: loaded, logger: logger, now: { clock.now },
      use: { settings in used.all.withLock { $0.append(settings.limits) } },
      afterSignal: { signals.all.withLock { $0 += 1 } },
      emit: { event in events.all.withLock { $0.append(event) } })
  }

  @Test func aChangedFileIsTakenOverOnceItStaysTheSame() async throws {
    let logger = lines.logger
    let watch = try await watch(logger, #"{"Logging":{"Level":"info"}}"#)
    await watch.look(.look)
    #expect(events.count == 0)
    try folder.write("appsettings.json", #"{"Logging":{"Level":"debug"},"DrainTimeout":"3s"}"#)
    await watch.look(.look)
    #expect(events.count == 0, "it may still be written")
    await watch.look(.look)
    #expect(logger.minimum == .debug)
    #expect(logger.component("other").minimum == .debug)
    #expect(watch.settings.drainGrace == .seconds(3))
    #expect(
      events.last == .reloaded(changed: ["DrainTimeout", "Logging:Level"], needRestart: []))
    await watch.look(.look)
    #expect(events.count == 1)
  }

  @Test func aSignalReadsAtOnce() async throws {
    let logger = lines.logger
    let watch = try await watch(logger, "{}")
    try folder.write("appsettings.json", #"{"Logging":{"Level":"error"}}"#)
    await watch.look(.signal)
    #expect(logger.minimum == .error)
    #expect(events.count == 1)
    await watch.look(.signal)
    #expect(events.count == 1, "nothing has changed")
  }

  @Test func aFileOfTheEnvironmentThatAppearsIsSeen() async throws {
    let logger = lines.logger
    let watch = try await watch(logger, "{}")
    try folder.write("appsettings.development.json", #"{"Logging":{"Level":"trace"}}"#)
    await watch.look(.look)
    await watch.look(.look)
    #expect(logger.minimum == .trace)
  }

  @Test func aSwappedLinkIsSeen() async throws {
    let logger = lines.logger
    let watch = try await watch(logger, "{}")
    let files = FileManager.default
    try folder.write("..1/appsettings.json", #"{"Logging":{"Level":"warning"}}"#)
    try files.removeItem(atPath: "\(folder.path)/appsettings.json")
    try files.createSymbolicLink(
      atPath: "\(folder.path)/appsettings.json", withDestinationPath: "..1/appsettings.json")
    await watch.look(.look)
    await watch.look(.look)
    #expect(logger.minimum == .warning)
  }

  @Test func aBrokenChangeIsRefusedAndTheOldValuesStay() async throws {
    let logger = lines.logger
    let watch = try await watch(logger, #"{"DrainTimeout":"3s"}"#)
    for text in [#"{"DrainTimeout":"4s","Logging":{"Level":"loud"}}"#, "{", "[]"] {
      try folder.write("appsettings.json", text)
      await watch.look(.signal)
      #expect(watch.settings.drainGrace == .seconds(3))
      let event = try #require(events.last)
      #expect(event.isFailure && event.type == "keelson.configuration.ConfigurationReloaded")
    }
    #expect(logger.minimum == .info)
    #expect(lines.have("The changed configuration is not used, the old one stays"))
    #expect(events.count == 3)
    // The same broken file is not told again.
    await watch.look(.look)
    #expect(events.count == 3)
    try folder.write("appsettings.json", #"{"DrainTimeout":"5s"}"#)
    await watch.look(.signal)
    #expect(watch.settings.drainGrace == .seconds(5))
    #expect(events.last?.isFailure == false)
  }

  /// What would keep the next start from happening is no change to take over.
  @Test func aReloadChecksWhatAStartChecks() async throws {
    let watch = try await watch(lines.logger, "{}")
    for text in [
      #"{"Tls":{"CertificateFile":"/none.crt","KeyFile":"/none.key"}}"#,
      #"{"Encryption":{"KeyPath":"/none.d"}}"#, #"{"Secrets":{"Vault":{"Address":"nonsense"}}}"#,
      #"{"Database":"mysql://h/d"}"#,
    ] {
      try folder.write("appsettings.json", text)
      let before = events.count
      await watch.look(.signal)
      #expect(events.count == before + 1)
      #expect(events.last?.isFailure == true, "\(text)")
    }
  }

  @Test func theEnvironmentIsThatOfTheStart() async throws {
    try folder.write("appsettings.qa.json", #"{"DrainTimeout":"9s"}"#)
    let watch = try await watch(lines.logger, #"{"DrainTimeout":"3s"}"#)
    try folder.write("appsettings.json", #"{"Environment":"qa","DrainTimeout":"4s"}"#)
    await watch.look(.signal)
    #expect(watch.settings.drainGrace == .seconds(4))
    #expect(
      events.last
        == .reloaded(changed: ["DrainTimeout", "Environment"], needRestart: ["Environment"]))
    // Back as it was at the start: nothing needs a restart.
    try folder.write("appsettings.json", #"{"DrainTimeout":"4s"}"#)
    await watch.look(.signal)
    #expect(events.last == .reloaded(changed: ["Environment"], needRestart: []))
  }

  @Test func whatNeedsARestartIsNamed() async throws {
    let watch = try await watch(lines.logger, "{}")
    try folder.write(
      "appsettings.json", #"{"Limits":{"connections":5},"Loops":2,"DrainTimeout":"1s"}"#)
    await watch.look(.signal)
    #expect(
      events.last
        == .reloaded(
          changed: ["DrainTimeout", "Limits:connections", "Loops"],
          needRestart: ["Limits:connections", "Loops"]))
    #expect(lines.have("need a restart"))
    #expect(lines.have("Limits:connections, Loops"))
  }

  @Test func limitsThatCallsAreHeldToNeedNoRestart() async throws {
    let watch = try await watch(lines.logger, "{}")
    try folder.write(
      "appsettings.json",
      #"{"Limits":{"flags-per-set":5,"configuration-size":"1MiB","watch-streams":7}}"#)
    await watch.look(.signal)
    #expect(
      events.last
        == .reloaded(
          changed: [
            "Limits:configuration-size", "Limits:flags-per-set", "Limits:watch-streams",
          ], needRestart: ["Limits:watch-streams"]))
    let limits = try #require(used.all.withLock { $0.last })
    for (name, text) in [("flags-per-set", "5"), ("configuration-size", "1MiB")] {
      let limit = try #require(ServerLimits.all.first { $0.name == name })
      #expect(limit.text(in: limits) == text)
    }
    // What is refused is not put in force.
    try folder.write("appsettings.json", #"{"Limits":{"flags-per-set":0}}"#)
    await watch.look(.signal)
    #expect(used.all.withLock { $0.count } == 1)
  }

  @Test func aSignalIsForApplicationsAsWell() async throws {
    let watch = try await watch(lines.logger, "{}")
    await watch.look(.look)
    #expect(signals.all.withLock { $0 } == 0)
    await watch.look(.signal)
    #expect(signals.all.withLock { $0 } == 1)
    try folder.write("appsettings.json", "{")
    await watch.look(.signal)
    #expect(signals.all.withLock { $0 } == 2)
  }

  @Test func secretsAreReadAgainWhenTheirFolderChanges() async throws {
    try folder.write("s/Logging__Level", "warning")
    let logger = lines.logger
    let watch = try await watch(
      logger, #"{"Secrets":{"Files":{"Folder":"\#(folder.path)/s"}}}"#)
    #expect(watch.settings.logLevel == .warning)
    logger.minimum = .info
    try folder.write("s/Logging__Level", "error")
    await watch.look(.look)
    #expect(logger.minimum == .error)
    #expect(events.last == .reloaded(changed: ["Logging:Level"], needRestart: []))
  }

  @Test func aStoreThatFailsLaterIsToldOnceAndKeepsItsValues() async throws {
    try folder.write("s/Logging__Level", "error")
    let watch = try await watch(
      lines.logger, #"{"Secrets":{"Files":{"Folder":"\#(folder.path)/s"}}}"#)
    try FileManager.default.removeItem(atPath: "\(folder.path)/s")
    for _ in 0..<3 { await watch.look(.signal) }
    #expect(watch.settings.logLevel == .error)
    #expect(events.count == 1)
    #expect(events.last?.isFailure == true)
    #expect(lines.have("Secrets cannot be read, the old values stay"))
    let check = try #require(watch.stores.healthChecks.first)
    #expect(check.name == "secrets-files")
    #expect(try await check.check().level == .degraded)
  }
}
