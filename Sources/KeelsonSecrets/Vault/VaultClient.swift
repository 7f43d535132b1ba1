import KeelsonCore
import KeelsonHTTP

/// Speaks Vault's HTTP API, version 1, with a token that it keeps alive.
///
/// Written from HashiCorp's published description ("HTTP API", "Token auth method (API)",
/// "Kubernetes auth method (API)").
package actor VaultClient {
  /// A token is renewed, or made anew, once this part of its life is over: Vault may be away for
  /// the rest of it.
  private static let partOfLife = 2.0 / 3.0

  nonisolated let configuration: VaultConfiguration
  private let client: RetryingClient
  private let now: @Sendable () -> ContinuousClock.Instant
  private var lease: Lease?
  /// When a login followed a refusal.
  private var lastRefusal: ContinuousClock.Instant?
  private static let refusalInterval: Duration = .seconds(60)
  /// The work of whoever needs a token first: the others wait for it.
  private var acquiring: Task<Lease, any Error>?

  /// A token and how long it lives.
  private struct Lease: Sendable {
    let token: SecretValue
    let isRenewable: Bool
    /// nil: for ever.
    let renewal: ContinuousClock.Instant?
    let end: ContinuousClock.Instant?
    /// What its file was when it was read.
    let source: FolderSignature?
  }

  package init(_ configuration: VaultConfiguration) {
    self.init(configuration, client: RetryingClient(CurlClient(configuration.http)))
  }

  init(
    _ configuration: VaultConfiguration, client: RetryingClient,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    self.configuration = configuration
    self.client = client
    self.now = now
  }

  /// Where it is, for sentences.
  nonisolated package var name: String { "Vault at \(configuration.address.text)" }

  /// Calls the API and gives what stands under `data`.
  ///
  /// - Parameters:
  ///   - path: behind `/v1/`, encoded already.
  ///   - what: what is asked for, for sentences: `the secret secret/keelson`.
  ///   - keepsNumbers: whether numbers in the answer are to be the texts that they are.
  /// - Throws: ``SecretStoreError``; `CancellationError`.
  func call(
    _ method: String, _ path: String, body: JSONValue? = nil, what: String,
    keepsNumbers: Bool = false
  ) async throws -> JSONValue {
    var lease = try await currentLease()
    var response = try await send(method, path, body: body, token: lease.token)
    // The token may have been revoked, or its file written anew: once more with another.
    if response.status == 403, let other = try await leaseAfterRefusal(of: lease) {
      lease = other
      response = try await send(method, path, body: body, token: lease.token)
    }
    guard response.status == 200 else {
      throw VaultFailure(response, name: name, what: what).error
    }
    let answer = keepsNumbers ? response.jsonKeepingNumbers : response.json
    guard let data = answer?["data"] else { throw malformed(what) }
    return data
  }

  private func malformed(_ what: String) -> SecretStoreError {
    SecretStoreError(
      .malformed,
      "\(name) answered the request for \(what) with something that its API does not have: check "
        + "that the address is Vault's own.")
  }

  // MARK: Tokens

  private func currentLease() async throws -> Lease {
    if let lease {
      let isSameFile =
        if lease.source == nil { true } else { await tokenFileSignature == lease.source }
      let moment = now()
      if isSameFile, lease.renewal.map({ moment < $0 }) ?? true { return lease }
      if isSameFile, lease.isRenewable, lease.end.map({ moment < $0 }) ?? true {
        return try await acquire { try await self.renew(lease) }
      }
    }
    return try await acquire { try await self.logIn() }
  }

  private func acquire(_ work: @escaping @Sendable () async throws -> Lease) async throws -> Lease {
    let task = acquiring ?? Task { try await self.acquired(work) }
    acquiring = task
    // Whoever is cancelled leaves at once; the others go on waiting.
    let wait = CancellableWait<Lease>()
    return try await wait.value { Task { wait.end(await task.result) } }
  }

  private func acquired(_ work: @Sendable () async throws -> Lease) async throws -> Lease {
    defer { acquiring = nil }
    let lease = try await work()
    self.lease = lease
    return lease
  }

  /// Another lease than one that was refused; nil when there is none to be had.
  private func leaseAfterRefusal(of refused: Lease) async throws -> Lease? {
    if let lease, lease.token != refused.token { return lease }
    switch configuration.authentication {
    case .token: return nil
    case .tokenFile:
      guard await tokenFileSignature != refused.source else { return nil }
    case .kubernetes:
      // A refusal of the policy looks like that of a token: no login for each request.
      let moment = now()
      if let lastRefusal, lastRefusal.duration(to: moment) < Self.refusalInterval { return nil }
      lastRefusal = moment
    }
    lease = nil
    let lease = try await acquire { try await self.logIn() }
    guard lease.token != refused.token else { return nil }
    if case .kubernetes = configuration.authentication {
      // It may be good still, and would live on for nobody.
      _ = try? await send("POST", "auth/token/revoke-self", body: nil, token: refused.token)
    }
    return lease
  }

  private nonisolated var tokenFileSignature: FolderSignature? {
    get async {
      guard case .tokenFile(let path) = configuration.authentication else { return nil }
      return try? await FileQueue.run { FolderSignature(files: [path]) }
    }
  }

  private func logIn() async throws -> Lease {
    switch configuration.authentication {
    case .token(let token): return try await lookUp(token, source: nil)
    case .tokenFile(let path):
      let source = await tokenFileSignature
      let token = try await FileQueue.run {
        try SecretFile(path, what: "token file for Vault").line
      }
      return try await lookUp(token, source: source)
    case .kubernetes(let role, let path, let mount):
      let token = try await FileQueue.run {
        try SecretFile(path, what: "service account token file").line
      }
      let response = try await send(
        "POST", "auth/\(mount.percentEncoded(keepingSlashes: true))/login",
        body: ["role": .string(role), "jwt": .string(token.text)], token: nil)
      guard response.status == 200 else {
        throw VaultFailure(response, name: name, what: "a login as the Kubernetes role \(role)")
          .error
      }
      return try lease(inAuth: response, what: "a login")
    }
  }

  /// Source: "Lookup a token (self)".
  private func lookUp(_ token: SecretValue, source: FolderSignature?) async throws -> Lease {
    let what = "what its token may do"
    let response = try await send("GET", "auth/token/lookup-self", body: nil, token: token)
    guard response.status == 200 else {
      // A token that may not look at itself (-no-default-policy), or one that is not known: the
      // request itself will tell.
      if response.status == 403, VaultFailure.isOfToken(response) == false {
        return lease(token, seconds: 0, isRenewable: false, source: source)
      }
      throw VaultFailure(response, name: name, what: what).error
    }
    guard let data = response.json?["data"], let seconds = data["ttl"]?.numberValue else {
      throw malformed(what)
    }
    return lease(
      token, seconds: seconds, isRenewable: data["renewable"]?.boolValue ?? false, source: source)
  }

  /// Source: "Renew a token (self)".
  private func renew(_ lease: Lease) async throws -> Lease {
    let response = try await send(
      "POST", "auth/token/renew-self", body: .object([:]), token: lease.token)
    // Not for longer than it may live at most; Kubernetes' way in makes a new one.
    guard response.status == 200 else {
      if response.status == 403 || response.status == 400 { return try await logIn() }
      throw VaultFailure(response, name: name, what: "a renewal of its token").error
    }
    let renewed = try self.lease(inAuth: response, what: "a renewal", source: lease.source)
    // Vault shortens renewals as the end of the token's life comes near: a login then.
    if case .kubernetes = configuration.authentication, let renewal = renewed.renewal,
      let end = lease.end, renewal <= end
    {
      return try await logIn()
    }
    return renewed
  }

  private func lease(
    inAuth response: HTTPResponse, what: String, source: FolderSignature? = nil
  ) throws(SecretStoreError) -> Lease {
    guard let auth = response.json?["auth"], let token = auth["client_token"]?.stringValue,
      let seconds = auth["lease_duration"]?.numberValue
    else { throw malformed(what) }
    return lease(
      SecretValue(token), seconds: seconds, isRenewable: auth["renewable"]?.boolValue ?? false,
      source: source)
  }

  /// - Parameter seconds: 0: it never expires.
  private func lease(
    _ token: SecretValue, seconds: Double, isRenewable: Bool, source: FolderSignature?
  ) -> Lease {
    let isEndless = seconds <= 0
    let moment = now()
    return Lease(
      token: token, isRenewable: isRenewable,
      renewal: isEndless ? nil : moment.advanced(by: .seconds(seconds * Self.partOfLife)),
      end: isEndless ? nil : moment.advanced(by: .seconds(seconds)), source: source)
  }

  // MARK: Requests

  private nonisolated func send(
    _ method: String, _ path: String, body: JSONValue?, token: SecretValue?
  ) async throws -> HTTPResponse {
    var headers = [("X-Vault-Request", SecretValue("true"))]
    if let token { headers.append(("X-Vault-Token", token)) }
    if let namespace = configuration.namespace {
      headers.append(("X-Vault-Namespace", SecretValue(namespace)))
    }
    if body != nil { headers.append(("Content-Type", SecretValue("application/json"))) }
    let request = HTTPRequest(
      method, "\(configuration.address.text)/v1/\(path)", headers: headers,
      body: body.map { SecretValue($0.text) })
    do throws(HTTPFailure) {
      return try await client.send(request)
    } catch {
      throw try SecretStoreError(error, name: name)
    }
  }
}

extension SecretStoreError {
  /// - Throws: `CancellationError` when the request was cancelled.
  init(_ failure: HTTPFailure, name: String) throws {
    switch failure.code {
    case .cancelled: throw CancellationError()
    case .malformed:
      self.init(
        .malformed, "\(name) cannot be used: \(failure.reason). Check its address.",
        cause: failure.reason)
    case .invalid, .refused:
      self.init(.settings, "\(name) cannot be asked: \(failure.reason).", cause: failure.reason)
    case .tls:
      self.init(
        .unreachable,
        "\(name) cannot be trusted: \(failure.reason). Give the authority that issued its "
          + "certificate as the CA file.", cause: failure.reason)
    case .connection, .timeout:
      self.init(
        .unreachable,
        "\(name) cannot be reached: \(failure.reason). Check its address, and that this machine may "
          + "connect to it.", cause: failure.reason)
    }
  }
}
