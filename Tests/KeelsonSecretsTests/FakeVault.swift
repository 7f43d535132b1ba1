import Foundation
import KeelsonCore
import KeelsonTestKit
import Synchronization

@testable import KeelsonSecrets

/// Vault as HashiCorp's published API description has it, as far as Keelson uses it: KV version 2,
/// the token and Kubernetes auth methods, transit. Written for these tests, not Vault itself.
///
/// It checks each request strictly and notes what breaks a rule in ``complaints``.
final class FakeVault: Sendable {
  struct State {
    /// What a valid token may still be, in seconds; nil: for ever.
    var tokens: [String: Token] = [:]
    /// By path below the mount `secret`: versions, oldest first; nil: deleted.
    var secrets: [String: [String?]] = [:]
    var namespace: String?
    /// The JWTs that Kubernetes knows, by role.
    var roles: [String: String] = [:]
    var logins = 0
    var renewals = 0
    var leaseSeconds = 3_600
    var longestRenewalSeconds = 3_600
    /// Answers to give before any other, first first.
    var faults: [LocalHTTPServer.Answer] = []
    /// The keys of the transit engine: the newest version.
    var transitKeys: [String: Int] = [:]
    var oldestTransitVersion = 1
    /// What was revoked.
    var revoked: [String] = []
    var complaints: [String] = []
  }

  struct Token {
    var ttl = 0
    var isRenewable = false
    var mayLookUp = true
    var policies: Set<String> = ["read"]
  }

  let state = Mutex(State())
  private let server = Mutex<LocalHTTPServer?>(nil)

  init(_ change: (inout State) -> Void = { _ in }) throws {
    state.withLock { change(&$0) }
    let store = try LocalHTTPServer { [unowned self] request in self.answer(request) }
    server.withLock { $0 = store }
  }

  deinit { server.withLock { $0?.stop() } }

  var store: LocalHTTPServer { server.withLock { $0! } }
  var complaints: [String] { state.withLock { $0.complaints } }

  func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

  /// A client of it.
  func client(
    _ authentication: VaultConfiguration.Authentication, namespace: String? = nil,
    waits: Waits = Waits(), clock: HandClock = HandClock()
  ) throws -> VaultClient {
    var configuration = try VaultConfiguration(
      address: store.address, authentication: authentication)
    configuration.namespace = namespace
    return VaultClient(configuration, client: waits.client(), now: { clock.now })
  }

  private static func errors(_ status: Int, _ errors: String...) -> LocalHTTPServer.Answer {
    .json(
      status, JSONValue.object(["errors": .array(errors.map { .string($0) })]).text)
  }

  private func answer(_ request: LocalHTTPServer.Request) -> LocalHTTPServer.Answer {
    state.withLock { state in
      if !state.faults.isEmpty { return state.faults.removeFirst() }
      if request.headers["x-vault-request"] != "true" {
        state.complaints.append("no X-Vault-Request: \(request.target)")
      }
      if request.headers["x-vault-namespace"] != state.namespace {
        return Self.errors(404, "no handler for route")
      }
      guard request.target.hasPrefix("/v1/") else { return Self.errors(404) }
      let path = String(request.target.dropFirst(4))
      if path == "auth/kubernetes/login" { return Self.logIn(request, &state) }
      guard let token = request.headers["x-vault-token"], let known = state.tokens[token] else {
        return Self.errors(403, "permission denied", "invalid token")
      }
      switch (request.method, path) {
      case ("POST", "auth/token/revoke-self"):
        state.tokens[token] = nil
        state.revoked.append(token)
        return .json(204, "")
      case ("GET", "auth/token/lookup-self"):
        guard known.mayLookUp else { return Self.errors(403, "permission denied") }
        return .json(
          200,
          """
          {"data":{"accessor":"a","id":"\(token)","policies":["default"],"ttl":\(known.ttl),
          "renewable":\(known.isRenewable),"type":"service"}}
          """)
      case ("POST", "auth/token/renew-self"): return Self.renew(token, known, &state)
      case (let method, _) where path.hasPrefix("transit/"):
        return Self.transit(method, path, request.body, &state)
      case ("GET", _) where path.hasPrefix("secret/data/"):
        guard known.policies.contains("read") else { return Self.errors(403, "permission denied") }
        return Self.read(path, state)
      default: return Self.errors(405, "unsupported operation")
      }
    }
  }

  private static func logIn(
    _ request: LocalHTTPServer.Request, _ state: inout State
  ) -> LocalHTTPServer.Answer {
    guard request.method == "POST", request.headers["x-vault-token"] == nil,
      request.headers["content-type"] == "application/json",
      let body = try? JSONValue(parsing: request.body), let role = body["role"]?.stringValue
    else {
      state.complaints.append("login: \(request)")
      return errors(400, "missing role")
    }
    guard let jwt = state.roles[role] else { return errors(400, "invalid role name \"\(role)\"") }
    guard jwt == body["jwt"]?.stringValue else { return errors(403, "permission denied") }
    state.logins += 1
    let token = "k8s-\(state.logins)"
    state.tokens[token] = Token(ttl: state.leaseSeconds, isRenewable: true)
    return .json(
      200,
      """
      {"auth":{"client_token":"\(token)","accessor":"a","policies":["default"],
      "lease_duration":\(state.leaseSeconds),"renewable":true}}
      """)
  }

  private static func renew(
    _ token: String, _ known: Token, _ state: inout State
  ) -> LocalHTTPServer.Answer {
    guard known.isRenewable else { return errors(400, "lease is not renewable") }
    state.renewals += 1
    return .json(
      200,
      """
      {"auth":{"client_token":"\(token)","policies":["default"],
      "lease_duration":\(state.longestRenewalSeconds),"renewable":true}}
      """)
  }

  private static func read(_ path: String, _ state: State) -> LocalHTTPServer.Answer {
    let parts = path.dropFirst("secret/data/".count).split(separator: "?")
    guard let versions = state.secrets[String(parts[0])] else { return errors(404) }
    var version = versions.count
    if parts.count == 2 {
      guard parts[1].hasPrefix("version="), let number = Int(parts[1].dropFirst(8)),
        versions.indices.contains(number - 1)
      else { return errors(404) }
      version = number
    }
    let data = versions[version - 1]
    let deletion = data == nil ? "2026-11-21T10:00:00.000000001Z" : ""
    return .json(
      data == nil ? 404 : 200,
      """
      {"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":
      \(data ?? "null"),"metadata":{"created_time":"2026-11-20T10:00:00Z","custom_metadata":null,
      "deletion_time":"\(deletion)","destroyed":false,"version":\(version)}}}
      """)
  }

  /// Its ciphertext is the plaintext itself, with the version ahead. As the real one does, it makes
  /// a key that is encrypted with and not there, and answers 400 to decrypting with such.
  private static func transit(
    _ method: String, _ path: String, _ body: String, _ state: inout State
  ) -> LocalHTTPServer.Answer {
    let parts = path.split(separator: "/").map(String.init)
    guard parts.count == 3 else { return errors(404) }
    if parts[1] == "encrypt", state.transitKeys[parts[2]] == nil { state.transitKeys[parts[2]] = 1 }
    guard let version = state.transitKeys[parts[2]] else {
      return parts[1] == "keys" ? errors(404) : errors(400, "encryption key not found")
    }
    let body = try? JSONValue(parsing: body)
    switch (method, parts[1]) {
    case ("GET", "keys"):
      return .json(
        200,
        """
        {"data":{"name":"\(parts[2])","type":"aes256-gcm96","latest_version":\(version),
        "min_decryption_version":1,"supports_encryption":true,"keys":{"1":1442851412}}}
        """)
    case ("POST", "encrypt"):
      guard let text = body?["plaintext"]?.stringValue, Data(base64Encoded: text) != nil else {
        return errors(400, "failed to base64-decode plaintext")
      }
      return .json(200, #"{"data":{"ciphertext":"vault:v\#(version):\#(text)"}}"#)
    case ("POST", "decrypt"):
      let text = body?["ciphertext"]?.stringValue ?? ""
      let pieces = text.split(separator: ":").map(String.init)
      guard pieces.count == 3, pieces[0] == "vault", let number = Int(pieces[1].dropFirst()),
        number <= version
      else { return errors(400, "invalid ciphertext: no prefix") }
      guard number >= state.oldestTransitVersion else {
        return errors(400, "ciphertext or signature version is disallowed by policy (too old)")
      }
      return .json(200, #"{"data":{"plaintext":"\#(pieces[2])"}}"#)
    default: return errors(405, "unsupported operation")
    }
  }
}
