import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonEvents

/// An events service on a database of its own, called through the in-process transport.
final class EventServer: Sendable {
  typealias API = KeelsonEventsV1

  let database: any Database
  let telemetry = TelemetryEvents()
  let service: EventService
  let client: API.EventServiceClient
  private let channel: InProcessChannel

  private init(_ database: any Database, limits: EventLimits) async throws {
    self.database = database
    try await database.migrate([EventsMigrations.all])
    service = EventService(
      database: database, telemetry: telemetry, source: "/keelson/test", limits: limits,
      logger: .silent)
    service.start()
    channel = InProcessChannel(routes: service.routes)
    client = .init(channel: channel)
  }

  /// Runs a body with a service whose background work goes on meanwhile.
  static func run(
    on engine: TestEngine, limits: EventLimits = EventLimits(),
    _ body: @Sendable (EventServer) async throws -> Void
  ) async throws {
    try await TestDatabase.on(engine) { made in
      let server = try await EventServer(made.database, limits: limits)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await server.service.run() }
        defer { group.cancelAll() }
        try await body(server)
        server.service.stop()
        await server.channel.shutdown()
      }
    }
  }

  /// Makes a change with one event.
  ///
  /// - Returns: its revision.
  @discardableResult
  func change(
    _ type: String = "FeatureFlagToggled", subject: String = "default/a",
    origin: ChangeOrigin = .system(), data: JSONText = .emptyObject
  ) async throws -> Int64 {
    try await database.change(origin) { change in
      change.audit(AuditDraft(action: "test", entityType: "test", entityID: subject))
      return change.emit(
        EventDraft(
          type: "keelson.flags.\(type)", subject: subject, data: data,
          payload: Array("internal".utf8)))
    }
  }

  /// Makes one change with an event for each subject.
  func changeAtOnce(subjects: [String]) async throws {
    try await database.change(.system()) { change in
      change.audit(AuditDraft(action: "test", entityType: "test", entityID: "all"))
      for subject in subjects {
        change.emit(EventDraft(type: "keelson.flags.FeatureFlagToggled", subject: subject))
      }
    }
  }

  /// Makes several changes.
  func change(times: Int, _ type: String = "FeatureFlagToggled") async throws {
    for number in 0..<times { try await change(type, subject: "default/\(number)") }
  }

  func publishTelemetry(_ subject: String) {
    telemetry.publish(type: EventServer.evaluated) {
      TelemetryEvent(type: EventServer.evaluated, subject: subject)
    }
  }

  static let evaluated = "keelson.flags.FeatureFlagEvaluated"
}

extension KeelsonEventsV1.SubscribeResponse {
  var event: IoCloudeventsV1.CloudEvent? {
    if case .event(let event) = content { event } else { nil }
  }

  var isHeartbeat: Bool {
    if case .heartbeat = content { true } else { false }
  }

  var dropped: Int64? {
    if case .dropped(let dropped) = content { dropped.count } else { nil }
  }
}

extension IoCloudeventsV1.CloudEvent {
  func text(_ name: String) -> String? {
    if case .ceString(let text) = attributes[name]?.attr { text } else { nil }
  }
}

/// The status that a call ends with; nil when it ends well.
func failure(_ body: () async throws -> Void) async -> RPCError? {
  do {
    try await body()
    return nil
  } catch let error as RPCError {
    return error
  } catch {
    Issue.record("\(error) is no status")
    return nil
  }
}

extension RPCError {
  /// The reason in its ErrorInfo.
  var reason: String? { info?.reason }

  var info: (reason: String, metadata: [String: String])? {
    for case .errorInfo(let reason, _, let metadata) in details { return (reason, metadata) }
    return nil
  }

  var retryDelay: Duration? {
    for case .retryInfo(let delay) in details { return delay }
    return nil
  }
}
