package import KeelsonAPI
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  package func getSchema(_ request: API.GetSchemaRequest, context: ServerContext) async throws
    -> API.Schema
  {
    try names.check(request.application, field: "application")
    var schema =
      book.schema(of: request.application)?.message ?? API.Schema(application: request.application)
    schema.etag = etag(schema.revision)
    return schema
  }

  package func defineSchema(_ request: API.DefineSchemaRequest, context: ServerContext)
    async throws -> API.DefineSchemaResponse
  {
    guard var schema = request.schema else {
      throw RPCError.invalidArgument(field: "schema", "is required")
    }
    try names.check(schema.application, field: "schema.application")
    let given = schema.etag
    schema.etag = ""
    schema.unknownFields = .init()
    let rules = try ConfigurationSchema(checking: schema, limits: limits)
    let definition = SchemaDefinition(
      schema: schema, rules: rules, etag: given, allowsViolations: request.allowViolations,
      isEntitled: Self.isEntitled(context))
    for environment in (book.applications()[schema.application] ?? [:]).keys {
      await loadDataKeys(
        of: ConfigurationScope(application: schema.application, environment: environment))
    }
    var prepared: [ConfigurationScope: DataKeys.Prepared] = [:]
    for _ in 0..<2 * limits.environments {
      let made = prepared
      do {
        let (response, used) = try await change(ChangeOrigin(context)) { change in
          try await self.define(definition, in: change, prepared: made)
        }
        for scope in used { if let key = made[scope] { dataKeys.add(key, to: scope) } }
        return response
      } catch let unknown as UnknownDataKey {
        await loadDataKeys(of: unknown.scope)
      } catch let needed as NeedsDataKey {
        prepared[needed.scope] = try await dataKeys.make(number: needed.number)
      } catch let unchanged as SchemaUnchanged {
        return unchanged.response
      }
    }
    throw RPCError(
      .aborted, "The keys of \(schema.application) change meanwhile; try again.")
  }

  private struct SchemaDefinition: Sendable {
    var schema: API.Schema
    var rules: ConfigurationSchema
    var etag: String
    var allowsViolations: Bool
    /// Whether the caller may be told secrets, and so make some of them none.
    var isEntitled: Bool
  }

  /// Thrown out of a definition that would change nothing.
  private struct SchemaUnchanged: Error {
    var response: API.DefineSchemaResponse
  }

  private func define(
    _ definition: SchemaDefinition, in change: Change,
    prepared: [ConfigurationScope: DataKeys.Prepared]
  ) async throws -> (API.DefineSchemaResponse, used: [ConfigurationScope]) {
    var schema = definition.schema
    let application = schema.application
    _ = try await requireSchema(of: application, in: change)
    let stored =
      try await EnvironmentRepository.schema(of: application, in: change)
      ?? API.Schema(application: application)
    let current = etag(stored.revision)
    guard definition.etag.isEmpty || definition.etag == current else {
      throw RPCError.staleETag(definition.etag, current: current, field: "schema.etag")
    }
    schema.revision = stored.revision
    schema.updateTime = stored.updateTime
    if schema == stored, stored.revision > 0 {
      schema.etag = current
      throw SchemaUnchanged(response: API.DefineSchemaResponse(schema: schema))
    }
    let budget = budget()
    let rooms = try await rooms(
      of: application, schema: definition.rules, budget: budget, in: change)
    let before = ConfigurationSchema(stored: stored)
    try Self.checkSecrecy(of: definition, after: before, in: rooms.map(\.1))
    let violations = rooms.flatMap { scope, room in
      self.violations(
        in: room, scope, known: room.with(schema: before).secretKeys,
        checksKnown: definition.isEntitled, budget: budget
      ).map { (scope, $0) }
    }
    // Every server compares the settings with the schema whenever it loads them.
    guard !budget.isSpent else {
      throw RPCError(
        .resourceExhausted,
        "Comparing the settings of \(application) with this schema takes more than "
          + "\(budget.steps) steps, the limit. Make its patterns and lists of allowed values "
          + "simpler.")
    }
    guard violations.isEmpty || definition.allowsViolations else {
      throw RPCError.violating(
        violations.map(\.1), code: .failedPrecondition,
        summary: "Settings of \(application) break this schema", limit: limits.namedViolations
      ) { violation in
        let scope = violations.first { $0.1 == violation }?.0
        return "settings[\"\(scope?.environment ?? "")/\(violation.key)\"]"
      }
    }
    schema.revision = change.revision
    schema.updateTime = GoogleProtobuf.Timestamp(change.time)
    schema.etag = ""
    try await change.executeAll([EnvironmentRepository.set(schema)])
    change.audit(
      AuditDraft(
        action: "schema.defined", entityType: "configuration_schema", entityID: application,
        before: stored.revision > 0 ? JSONText(stored.json) : nil, after: JSONText(schema.json)))
    let payload = API.StoredChange(application: application, schema: schema)
    change.emit(
      ConfigurationEvent.schemaDefined.draft(
        ConfigurationScope(application: application, environment: ""),
        ["violations": .number(Double(violations.count))], payload: payload.encoded()))
    var used: [ConfigurationScope] = []
    for (scope, room) in rooms {
      let sealing = SealingOfSecrets(
        scope: scope, change: change, dataKeys: dataKeys, prepared: prepared[scope])
      if try await sealing.run(room) { used.append(scope) }
    }
    schema.etag = etag(schema.revision)
    return (
      API.DefineSchemaResponse(
        schema: schema,
        violations: violations.prefix(
          violations.map(\.1).fitting(
            count: limits.validatedViolations, bytes: limits.violationBytes
          ).count
        ).map { $0.1.message(in: $0.0.environment) }),
      used
    )
  }

  /// What is a secret may be made none by who may be told it, and by nobody else.
  ///
  /// - Throws: `RPCError` PERMISSION_DENIED.
  private static func checkSecrecy(
    of definition: SchemaDefinition, after before: ConfigurationSchema,
    in rooms: [ConfigurationRoom]
  ) throws {
    guard !definition.isEntitled else { return }
    var keys = Set(before.rules.filter { $0.isSensitive && $0.key.isKey }.map(\.key.text))
    for room in rooms {
      keys.formUnion(
        room.with(schema: before).secretKeys.filter { before.isSensitive($0) })
    }
    let told = keys.filter { !definition.rules.isSensitive($0) }.sorted()
    guard let first = told.first else { return }
    throw RPCError(
      .permissionDenied,
      "'\(first)' is a secret in the current schema and none in this one; only callers on the "
        + "server's own machine and those with a client certificate may change that.",
      details: [.errorInfo(reason: "SECRET_READ_DENIED", domain: "keelson", metadata: [:])])
  }

  /// Every environment of an application as it would be under a schema: what is stored as the
  /// transaction sees it, the layers below as this server has them.
  private func rooms(
    of application: String, schema: ConfigurationSchema, budget: ValidationBudget,
    in change: Change
  ) async throws -> [(ConfigurationScope, ConfigurationRoom)] {
    let stored = try await EnvironmentRepository.environments(of: application, in: change)
    let known = book.applications()[application].map { Set($0.keys) } ?? []
    var rooms: [(ConfigurationScope, ConfigurationRoom)] = []
    for environment in known.union(stored).sorted() {
      let scope = ConfigurationScope(application: application, environment: environment)
      let settings = try await SettingRepository.all(scope, in: change)
      rooms.append(
        (
          scope,
          ConfigurationRoom(
            schema: schema, lower: book.room(scope).room.lower,
            api: Dictionary(settings.map { ($0.key, $0) }, uniquingKeysWith: { $1 }),
            budget: budget)
        ))
    }
    return rooms
  }
}
