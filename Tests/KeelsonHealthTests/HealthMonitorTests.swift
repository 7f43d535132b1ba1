import KeelsonCore
import KeelsonHealth
import KeelsonTestKit
import Synchronization
import Testing

@Suite struct HealthMonitorTests {
  /// A component that works or not, as the test says.
  final class Part: HealthCheck {
    let name: String
    let isEssential: Bool
    let failure = Mutex<String?>(nil)
    let outcome = Mutex(HealthOutcome.healthy)

    init(_ name: String, essential: Bool = true) {
      self.name = name
      isEssential = essential
    }

    func check() async throws -> HealthOutcome {
      if let message = failure.withLock({ $0 }) { throw RPCError(.unavailable, message) }
      return outcome.withLock { $0 }
    }
  }

  /// A component whose check ends only when it is cancelled.
  struct Stuck: HealthCheck {
    let name = "stuck"
    let isEssential = false
    func check() async throws -> HealthOutcome {
      let (never, continuation) = AsyncStream.makeStream(of: Never.self)
      for await _ in never {}
      withExtendedLifetime(continuation) {}
      throw CancellationError()
    }
  }

  /// A component whose check hangs until the test lets it go, cancelled or not.
  final class Hanging: HealthCheck {
    let name = "database"
    let isEssential = true
    let starts = Mutex(0)
    let mayEnd = Gate()

    func check() async throws -> HealthOutcome {
      starts.withLock { $0 += 1 }
      await mayEnd.wait()
      return .healthy
    }
  }

  /// Waits as long as a busy machine may take: only tests of slow checks measure time.
  private static let patient: HealthMonitor.Settings = {
    var settings = HealthMonitor.Settings()
    settings.slowAfter = .seconds(600)
    settings.timeout = .seconds(600)
    return settings
  }()

  private func monitor(
    _ parts: any HealthCheck..., settings: HealthMonitor.Settings = patient
  ) -> HealthMonitor {
    HealthMonitor(checks: parts, settings: settings, logger: .silent)
  }

  @Test func isNotReadyBeforeItHasStartedAndLooked() async {
    let monitor = monitor(Part("database"))
    #expect(monitor.report.value.reasonNotReady == "The server is starting.")
    monitor.markStarted()
    #expect(monitor.report.value.reasonNotReady == "database: not checked yet")
    await monitor.checkAll()
    #expect(monitor.report.value.reasonNotReady == nil)
    #expect(monitor.report.value.status == .healthy)
  }

  @Test func countsFailuresInARowAndRecovers() async {
    let part = Part("database")
    let monitor = monitor(part)
    monitor.markStarted()
    part.failure.withLock { $0 = "it is gone" }
    for _ in 0..<3 { await monitor.checkAll() }
    let failed = monitor.report.value.components[0]
    #expect(failed.consecutiveFailures == 3)
    #expect(failed.message == "it is gone")
    #expect(monitor.report.value.status == .unhealthy)
    #expect(monitor.report.value.reasonNotReady == "database: it is gone")

    part.failure.withLock { $0 = nil }
    await monitor.checkAll()
    #expect(monitor.report.value.components[0].consecutiveFailures == 0)
    #expect(monitor.report.value.reasonNotReady == nil)
  }

  @Test func anInessentialPartOnlyDegrades() async {
    let part = Part("mail", essential: false)
    part.failure.withLock { $0 = "no route" }
    let monitor = monitor(Part("database"), part)
    monitor.markStarted()
    await monitor.checkAll()
    #expect(monitor.report.value.status == .degraded)
    #expect(monitor.report.value.reasonNotReady == nil)
  }

  @Test func aSlowCheckIsDegradedAndAStuckOneFails() async {
    var slow = HealthMonitor.Settings()
    slow.slowAfter = .zero
    let degraded = monitor(Part("database"), settings: slow)
    await degraded.checkAll()
    #expect(degraded.report.value.components[0].status == .degraded)

    var impatient = HealthMonitor.Settings()
    impatient.timeout = .milliseconds(1)
    let stuck = monitor(Stuck(), settings: impatient)
    await stuck.checkAll()
    #expect(stuck.report.value.components[0].status == .unhealthy)
    #expect(stuck.report.value.components[0].message.contains("did not end"))
  }

  @Test(.timeLimit(.minutes(5))) func aCheckIsDegradedWhileItTakesLong() async throws {
    var settings = HealthMonitor.Settings()
    settings.slowAfter = .milliseconds(1)
    settings.timeout = .seconds(3_600)
    let part = Hanging()
    let monitor = monitor(part, settings: settings)
    let round = Task { await monitor.checkAll() }
    var (report, version) = monitor.report.current
    while report.status != .degraded {
      (report, version) = try #require(try await monitor.report.next(after: version))
    }
    #expect(report.components[0].message.contains("has not ended yet"))
    #expect(report.components[0].consecutiveFailures == 0)
    part.mayEnd.open()
    await round.value
    #expect(monitor.report.value.components[0].message.contains("It answers, but took"))
  }

  @Test(.timeLimit(.minutes(5))) func aCheckThatHangsFailsAndGetsNoCompany() async throws {
    var settings = HealthMonitor.Settings()
    settings.slowAfter = .seconds(3_600)
    settings.timeout = .milliseconds(1)
    let part = Hanging()
    let monitor = monitor(part, settings: settings)
    let rounds = Task { for _ in 0..<3 { await monitor.checkAll() } }
    var (report, version) = monitor.report.current
    while report.components[0].consecutiveFailures < 3 {
      (report, version) = try #require(try await monitor.report.next(after: version))
    }
    await rounds.value
    #expect(report.status == .unhealthy)
    #expect(report.components[0].message.contains("did not end"))
    #expect(part.starts.withLock { $0 } == 1)

    part.mayEnd.open()
    while monitor.report.value.status != .healthy { await monitor.checkAll() }
    #expect(monitor.report.value.components[0].consecutiveFailures == 0)
    #expect(part.starts.withLock { $0 } > 1)
  }

  @Test func aPartThatSaysItIsDegradedIsReady() async {
    let part = Part("database")
    part.outcome.withLock { $0 = .degraded(reason: "It only reads.") }
    let monitor = monitor(part)
    monitor.markStarted()
    await monitor.checkAll()
    #expect(monitor.report.value.status == .degraded)
    #expect(monitor.report.value.components[0].message == "It only reads.")
    #expect(monitor.report.value.components[0].consecutiveFailures == 0)
    #expect(monitor.report.value.reasonNotReady == nil)
  }

  @Test func drainingIsNotReady() async {
    let monitor = monitor(Part("database"))
    monitor.markStarted()
    await monitor.checkAll()
    monitor.markDraining()
    #expect(monitor.report.value.reasonNotReady == "The server is stopping.")
  }
}
