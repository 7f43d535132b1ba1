import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  /// The application and environment that a request means.
  func scope(_ application: String, _ environment: String) throws -> ConfigurationScope {
    try names.check(application, field: "application")
    guard !environment.isEmpty else {
      return ConfigurationScope(application: application, environment: self.environment)
    }
    try names.check(environment, field: "environment")
    return ConfigurationScope(application: application, environment: environment)
  }

  /// Whether a caller may be told secrets: who has proved an identity, or is on this machine.
  static func isEntitled(_ context: ServerContext) -> Bool {
    context.identity != nil || localPeers.contains { context.peer.hasPrefix($0) }
  }

  private static let localPeers = ["unix:", "inprocess:", "ipv4:127.", "ipv6:[::1]"]

  /// - Throws: `RPCError` PERMISSION_DENIED; the attempt is in the audit trail.
  func checkEntitled(
    _ context: ServerContext, to scope: ConfigurationScope, key: String? = nil
  ) async throws {
    guard !Self.isEntitled(context) else { return }
    try await auditReveal(of: key.map { [$0] } ?? [], in: scope, outcome: .denied, context)
    throw RPCError(
      .permissionDenied,
      "Secrets are told only to callers on the server's own machine and to those with a client "
        + "certificate; ask without 'reveal' to see the rest.",
      details: [.errorInfo(reason: "SECRET_READ_DENIED", domain: "keelson", metadata: [:])])
  }

  /// Writes into the audit trail who was told which secrets. They are told only after that.
  ///
  /// - Parameter keys: none: all of the scope.
  func auditReveal(
    of keys: [String], in scope: ConfigurationScope, outcome: AuditEntry.Outcome = .success,
    _ context: ServerContext
  ) async throws {
    let origin = ChangeOrigin(context)
    let now = UnixTime.now
    let isOne = keys.count == 1
    let entry = AuditEntry(
      id: UUIDv7.make(at: now), time: now, actor: origin.actor, action: "setting.reveal",
      entityType: isOne ? "setting" : "configuration",
      entityID: isOne ? scope.subject(keys[0]) : "\(scope)",
      attributes: keys.count > 1
        ? JSONValue.object(["keys": JSONValue(keys: keys, limit: keys.count)]).text : nil,
      category: "access", outcome: outcome, correlationID: origin.correlationID,
      peer: origin.peer, userAgent: origin.userAgent)
    do {
      _ = try await database.appendAudit([entry])
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  // MARK: Data keys

  /// Unwraps the data keys of a scope; what cannot be unwrapped is noted.
  func loadDataKeys(of scope: ConfigurationScope) async {
    guard let stored = try? await database.read({ try await DataKeyRepository.keys(scope, in: $0) })
    else { return }
    await dataKeys.load(stored, of: scope)
  }

  /// Runs a body, again with the keys of the scope loaded where it needs some that are not.
  ///
  /// - Throws: what the body throws; ABORTED when the keys change all the time.
  func withDataKeys<Result: Sendable>(
    of scope: ConfigurationScope, _ body: () async throws -> Result
  ) async throws -> Result {
    for _ in 0..<3 {
      do {
        return try await body()
      } catch is UnknownDataKey {
        await loadDataKeys(of: scope)
      }
    }
    throw RPCError(.aborted, "The keys of \(scope) change meanwhile; try again.")
  }

  // MARK: Transactions

  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  func change<Result: Sendable>(
    _ origin: ChangeOrigin, _ body: @escaping @Sendable (Change) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.change(origin, body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }
}
