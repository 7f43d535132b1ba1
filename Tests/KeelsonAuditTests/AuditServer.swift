import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonPostgres
import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// The engines that every case runs on.
enum Engine: String, CaseIterable, Sendable {
  case sqlite, postgres
}

/// An audit service on a database of its own, called through the in-process transport.
final class AuditServer: Sendable {
  typealias API = KeelsonAuditV1

  let database: any Database
  let folder: String
  let telemetry = TelemetryEvents()
  let service: AuditService
  let client: API.AuditServiceClient
  private let channel: InProcessChannel

  private init(
    _ database: any Database, folder: String, limits: AuditLimits, hasKeys: Bool
  ) async throws {
    self.database = database
    self.folder = folder
    try await database.migrate([AuditMigrations.all])
    var configuration = AuditConfiguration(dataFolder: folder)
    configuration.limits = limits
    if hasKeys {
      configuration.keyEncryptionKeys = try LocalKeys(
        ["a": [UInt8](repeating: 1, count: 32)], currentID: "a")
    }
    service = try AuditService(
      database: database, configuration: configuration, telemetry: telemetry, logger: .silent)
    try await service.start()
    channel = InProcessChannel(routes: service.routes)
    client = .init(channel: channel)
  }

  /// Runs a body with a service that records no reads, so that bodies can count.
  static func run(
    _ engine: Engine, limits: AuditLimits = AuditLimits(), hasKeys: Bool = true,
    auditsReads: Bool = false, _ body: @Sendable (AuditServer) async throws -> Void
  ) async throws {
    let folder = NSTemporaryDirectory() + "keelson-audit-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let loops = LoopGroup(count: 1)
    let database: any Database
    switch engine {
    case .sqlite: database = try SQLiteDatabase(SQLiteConfiguration(folder: folder))
    case .postgres:
      let server = try await PrivatePostgres.shared.value
      database = try await PostgresDatabase.open(
        PostgresConfiguration(url: server.url(server.createDatabase())), loops: loops,
        logger: .silent)
    }
    do {
      let server = try await AuditServer(
        database, folder: folder, limits: limits, hasKeys: hasKeys)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await server.service.run() }
        defer { group.cancelAll() }
        if !auditsReads {
          var policy = try await server.client.getRetentionPolicy(.init())
          policy.auditReads = false
          _ = try await server.client.updateRetentionPolicy(.init(policy: policy))
        }
        try await body(server)
        server.service.stop()
        await server.channel.shutdown()
      }
    } catch {
      await database.close()
      await loops.stop()
      throw error
    }
    await database.close()
    await loops.stop()
  }

  /// A client of another server on the same database, which has other keys.
  func other(
    _ keys: [String: [UInt8]] = [:], currentID: String = "",
    configure: (inout AuditConfiguration) -> Void = { _ in }
  ) async throws -> (
    service: AuditService, client: API.AuditServiceClient, end: @Sendable () async -> Void
  ) {
    var configuration = AuditConfiguration(dataFolder: folder)
    if !keys.isEmpty {
      configuration.keyEncryptionKeys = try LocalKeys(keys, currentID: currentID)
    }
    configure(&configuration)
    let service = try AuditService(
      database: database, configuration: configuration, telemetry: telemetry, logger: .silent)
    try await service.start()
    let channel = InProcessChannel(routes: service.routes)
    return (service, .init(channel: channel), { await channel.shutdown() })
  }

  static func draft(
    _ entity: String = "a", action: String = "thing.changed", actor: String = "anna"
  ) -> API.EntryDraft {
    API.EntryDraft(actor: actor, action: action, entityType: "thing", entityId: entity)
  }

  @discardableResult
  func record(_ drafts: [API.EntryDraft]) async throws -> [API.RecordedEntry] {
    try await client.recordEntries(.init(entries: drafts)).entries
  }

  /// Records so many entries and returns the number of the first.
  func recordMany(_ count: Int) async throws -> Int64 {
    try await record((0..<count).map { Self.draft("\($0)") })[0].sequence
  }

  func list(_ filter: API.EntryFilter = .init()) async throws -> [API.AuditEntry] {
    var entries: [API.AuditEntry] = []
    var token = ""
    repeat {
      let page = try await client.listEntries(
        .init(filter: filter, pageSize: 1_000, pageToken: token))
      entries += page.entries
      token = page.nextPageToken
    } while !token.isEmpty
    return entries
  }

  func verify() async throws -> API.VerifyEntriesResponse {
    try await client.verifyEntries(.init())
  }

  /// The exported file.
  func export(_ request: API.ExportEntriesRequest = .init()) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await piece in client.exportEntries(request) { bytes += piece.data }
    return bytes
  }

  /// Does to the database what nobody may: the triggers that guard the trail are away meanwhile.
  func tamper(_ statements: String...) async throws {
    try await tamper(statements)
  }

  func tamper(_ statements: [String]) async throws {
    let dialect = database.dialect
    let tables = [
      "audit_entries", "change_sequence", "audit_archives", "audit_checkpoints",
      "audit_signing_keys", "audit_subjects",
    ]
    try await database.write { transaction in
      var guards: [String] = []
      switch dialect {
      case .sqlite:
        for row in try await transaction.query(
          """
          SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'
            AND tbl_name IN (\(tables.map { "'\($0)'" }.joined(separator: ", ")))
          """)
        {
          guards.append(try row.get(1))
          try await transaction.execute("DROP TRIGGER \(try row.get(0, as: String.self))")
        }
      case .postgreSQL:
        for table in tables {
          try await transaction.execute("ALTER TABLE \(table) DISABLE TRIGGER USER")
          guards.append("ALTER TABLE \(table) ENABLE TRIGGER USER")
        }
      }
      for statement in statements { try await transaction.execute(statement) }
      for statement in guards { try await transaction.execute(statement) }
    }
  }
}

/// The code of the error that a call ends with.
func code(_ call: () async throws -> Void) async -> RPCError.Code? {
  do {
    try await call()
    return nil
  } catch {
    return (error as? RPCError)?.code
  }
}
