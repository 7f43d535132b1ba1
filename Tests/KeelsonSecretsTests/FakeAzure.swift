import KeelsonCore
import KeelsonTestKit
import Synchronization

@testable import KeelsonSecrets

/// Azure Key Vault and Microsoft Entra ID's token endpoint as their published API descriptions have
/// them, as far as Keelson uses them. Written for these tests, neither of the two itself.
///
/// It checks each request strictly and notes what breaks a rule in ``complaints``.
final class FakeAzure: Sendable {
  struct Secret {
    var value: String
    var isEnabled = true
    var isManaged = false
    var updated = 1_700_000_000
  }

  struct State {
    var secrets: [(name: String, secret: Secret)] = []
    var clientSecret = "client secret &="
    var tokens: Set<String> = []
    var tokenCount = 0
    var tokenSeconds = 3_599
    var pageSize = 2
    /// What stands for the vault's address in links to further pages; nil: itself.
    var linkOrigin: String?
    var isLoop = false
    var tokenFaults: [LocalHTTPServer.Answer] = []
    var faults: [LocalHTTPServer.Answer] = []
    var complaints: [String] = []
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

  func secrets(
    client: String = "app id", tenant: String = "contoso.example",
    secret: AzureConfiguration.Secret = .value(SecretValue("client secret &=")),
    waits: Waits = Waits(), clock: HandClock = HandClock()
  ) throws -> AzureSecretStore {
    let configuration = try AzureConfiguration(
      vault: "\(store.address)/", tenant: tenant, client: client, secret: secret,
      authority: store.address)
    return AzureSecretStore(
      configuration, client: waits.client(passing: AzureSecretStore.passing), now: { clock.now })
  }

  private func answer(_ request: LocalHTTPServer.Request) -> LocalHTTPServer.Answer {
    // The lock is not held for what the server says of itself.
    let origin = store.address
    return state.withLock { state in
      if request.target.hasSuffix("/oauth2/v2.0/token") { return Self.token(request, &state) }
      if !state.faults.isEmpty { return state.faults.removeFirst() }
      guard let authorization = request.headers["authorization"],
        authorization.hasPrefix("Bearer "),
        state.tokens.contains(String(authorization.dropFirst(7)))
      else {
        return .json(
          401,
          #"{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a token."}}"#,
          headers: ["WWW-Authenticate": #"Bearer authorization="https://login", resource="r""#])
      }
      let parts = request.target.split(separator: "?", maxSplits: 1).map(String.init)
      let query = parts.count == 2 ? parts[1].split(separator: "&").map(String.init) : []
      if request.method != "GET" || !query.contains("api-version=7.4") {
        state.complaints.append("\(request.method) \(request.target)")
        return .json(400, #"{"error":{"code":"BadParameter","message":"api-version"}}"#)
      }
      if parts[0] == "/secrets" { return Self.list(query, origin, state) }
      let name = parts[0].split(separator: "/").last ?? ""
      guard let found = state.secrets.first(where: { $0.name == name }) else {
        return .json(
          404, #"{"error":{"code":"SecretNotFound","message":"A secret was not found."}}"#)
      }
      guard found.secret.isEnabled else {
        return .json(
          403, #"{"error":{"code":"Forbidden","message":"Operation get is not allowed"}}"#)
      }
      return .json(
        200,
        JSONValue.object([
          "value": .string(found.secret.value),
          "id": .string("https://v.vault.azure.net/secrets/\(name)/0123"),
          "attributes": .object(["enabled": true, "recoveryLevel": "Recoverable"]),
        ]).text)
    }
  }

  private static func list(
    _ query: [String], _ origin: String, _ state: State
  ) -> LocalHTTPServer.Answer {
    let skip = query.first { $0.hasPrefix("$skiptoken=") }.flatMap { Int($0.dropFirst(11)) } ?? 0
    let page = state.secrets.dropFirst(skip).prefix(state.pageSize)
    let entries = page.map { name, secret -> JSONValue in
      var entry: [String: JSONValue] = [
        "id": .string("https://v.vault.azure.net/secrets/\(name)"),
        "attributes": .object([
          "enabled": .bool(secret.isEnabled), "created": 1_482_189_047,
          "updated": .number(Double(secret.updated)),
        ]),
      ]
      if secret.isManaged { entry["managed"] = true }
      return .object(entry)
    }
    let next = state.isLoop ? 0 : skip + state.pageSize
    let isLast = !state.isLoop && next >= state.secrets.count
    let link =
      "\(state.linkOrigin ?? origin)/secrets?api-version=7.4&$skiptoken=\(next)&maxresults=25"
    return .json(
      200,
      JSONValue.object([
        "value": .array(entries), "nextLink": isLast ? .null : .string(link),
      ]).text)
  }

  private static func token(
    _ request: LocalHTTPServer.Request, _ state: inout State
  ) -> LocalHTTPServer.Answer {
    if !state.tokenFaults.isEmpty { return state.tokenFaults.removeFirst() }
    var form: [String: String] = [:]
    for pair in request.body.split(separator: "&") {
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      form[parts[0]] = parts.count == 2 ? parts[1].removingPercentEncodingByHand : ""
    }
    if request.method != "POST"
      || request.headers["content-type"] != "application/x-www-form-urlencoded"
      || form["grant_type"] != "client_credentials"
      || form["scope"] != "https://vault.azure.net/.default"
      || request.headers["authorization"] != nil
    {
      state.complaints.append("token: \(request)")
    }
    func refusal(_ status: Int, _ error: String, _ text: String) -> LocalHTTPServer.Answer {
      .json(
        status,
        JSONValue.object([
          "error": .string(error),
          "error_description": .string("\(text)\r\nTrace ID: 0\r\nTimestamp: now"),
          "error_codes": [7_000_215],
        ]).text)
    }
    guard request.target == "/contoso.example/oauth2/v2.0/token" else {
      return refusal(400, "invalid_request", "AADSTS90002: Tenant not found.")
    }
    guard form["client_id"] == "app id" else {
      return refusal(400, "unauthorized_client", "AADSTS700016: Application not found.")
    }
    guard form["client_secret"] == state.clientSecret else {
      return refusal(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
    }
    state.tokenCount += 1
    let token = "azure-\(state.tokenCount)"
    state.tokens = [token]
    return .json(
      200,
      """
      {"token_type":"Bearer","expires_in":\(state.tokenSeconds),"ext_expires_in":3599,
      "access_token":"\(token)"}
      """)
  }
}

extension String {
  fileprivate var removingPercentEncodingByHand: String {
    var bytes: [UInt8] = []
    var rest = utf8[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"),
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
