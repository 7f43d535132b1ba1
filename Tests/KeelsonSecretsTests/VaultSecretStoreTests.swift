import Foundation
import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonSecrets

@Suite(.timeLimit(.minutes(5))) struct VaultSecretStoreTests {
  private static let secret = """
    {"Database":{"Password":"p w","Port":5432,"Replicas":["a","b"]},"Api__Key":"k","Off":true,
    "Nothing":null}
    """

  private func vault(_ change: (inout FakeVault.State) -> Void = { _ in }) throws -> FakeVault {
    try FakeVault { state in
      state.tokens["t0"] = .init(ttl: 3_600, isRenewable: true)
      state.secrets["keelson/production"] = [#"{"Api__Key":"old"}"#, Self.secret]
      change(&state)
    }
  }

  private func error(
    _ vault: FakeVault, path: String = "keelson/production", version: Int? = nil,
    token: String = "t0", namespace: String? = nil, waits: Waits = Waits()
  ) async throws -> SecretStoreError {
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue(token)), namespace: namespace, waits: waits),
      mount: "secret", path: path, version: version)
    return try await #require(throws: SecretStoreError.self) { _ = try await store.load() }
  }

  @Test func membersBecomeKeysAndValues() async throws {
    let vault = try vault()
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("t0"))), mount: "/secret/", path: "/keelson/production/")
    let values = try await store.load().values
    #expect(
      values.mapValues(\.text) == [
        "Database:Password": "p w", "Database:Port": "5432", "Database:Replicas:0": "a",
        "Database:Replicas:1": "b", "Api:Key": "k", "Off": "true",
      ])
    #expect(
      vault.store.asked == [
        "GET /v1/auth/token/lookup-self", "GET /v1/secret/data/keelson/production",
      ])
    #expect(vault.complaints.isEmpty)
  }

  @Test func aVersionMayBeAskedFor() async throws {
    let vault = try vault()
    let client = try vault.client(.token(SecretValue("t0")))
    let store = VaultSecretStore(client, mount: "secret", path: "keelson/production", version: 1)
    #expect(try await store.load().values["Api:Key"]?.text == "old")
    #expect(vault.store.asked.last == "GET /v1/secret/data/keelson/production?version=1")
  }

  @Test func aNamespaceIsNamedInEachRequest() async throws {
    let vault = try vault { $0.namespace = "team/a" }
    let client = try vault.client(.token(SecretValue("t0")), namespace: "team/a")
    _ = try await VaultSecretStore(client, mount: "secret", path: "keelson/production").load()
    #expect(vault.store.requests.allSatisfy { $0.headers["x-vault-namespace"] == "team/a" })
    #expect(try await error(vault, namespace: "team/b").code == .missing)
  }

  @Test func whatWentWrongIsToldApart() async throws {
    let vault = try vault { state in
      state.tokens["none"] = .init(ttl: 60, policies: [])
      state.secrets["gone"] = [Self.secret, nil]
    }
    let denied = try await error(vault, token: "none")
    #expect(denied.code == .denied)
    #expect(denied.message.contains("permission denied"))
    #expect(denied.message.contains("secret/keelson/production"))
    let unknown = try await error(vault, token: "wrong")
    #expect(unknown.code == .denied)
    #expect(unknown.message.contains("does not accept the token"))
    let missing = try await error(vault, path: "keelson/none")
    #expect(missing.code == .missing)
    #expect(missing.message.contains("check mount, path and namespace"))
    let deleted = try await error(vault, path: "gone")
    #expect(deleted.code == .missing)
    #expect(deleted.message.contains("version 2 was deleted on 2026-11-21T10:00:00"))
    #expect(try await error(vault, version: 9).message.contains("version 9"))
    for error in [denied, unknown, missing, deleted] {
      #expect(!"\(error)".contains("t0") && !"\(error)".contains("wrong"))
    }
  }

  @Test(arguments: [
    (503, "unavailable", "vault operator unseal"), (501, "unavailable", "operator init"),
    (473, "unavailable", "standby"), (307, "unavailable", "active node"),
    (400, "settings", "does not understand"), (418, "failed", "418"),
  ])
  func aStatusHasItsSentence(status: Int, code: String, words: String) async throws {
    let vault = try vault {
      $0.faults = [.json(status, #"{"errors":["Vault is sealed"]}"#)]
    }
    let waits = Waits()
    let error = try await error(vault, waits: waits)
    #expect(error.code.description == code)
    #expect(error.message.contains(words))
    #expect(waits.all.isEmpty)
  }

  @Test func whatPassesIsTriedAgainAndRetryAfterIsHonoured() async throws {
    let vault = try vault {
      $0.faults = [
        .json(500, "{}"), .json(429, "{}", headers: ["Retry-After": "7"]),
        .bytes(Array("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".utf8)),
      ]
    }
    let waits = Waits()
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("t0")), waits: waits), mount: "secret",
      path: "keelson/production")
    #expect(try await store.load().values.count == 6)
    #expect(waits.all == [.milliseconds(500), .seconds(7), .seconds(2)])
  }

  @Test func whatDoesNotPassIsGivenUp() async throws {
    let vault = try vault { $0.faults = .init(repeating: .json(429, "{}"), count: 4) }
    #expect(try await error(vault).code == .throttled)
    vault.change { $0.faults = [.json(429, "{}", headers: ["Retry-After": "3600"])] }
    let waits = Waits()
    #expect(try await error(vault, waits: waits).code == .throttled)
    #expect(waits.all.isEmpty)
  }

  @Test(arguments: [
    "", "null", "[]", "{\"data\":7}", "{\"data\":{\"data\":[]}}", "<html></html>", "{",
    "{\"data\":{\"ttl\":\"soon\"}}",
  ])
  func garbageIsRefused(body: String) async throws {
    for place in 0...1 {
      let vault = try vault {
        let good = LocalHTTPServer.Answer.json(200, #"{"data":{"ttl":0,"renewable":false}}"#)
        $0.faults = [LocalHTTPServer.Answer](repeating: good, count: place) + [.json(200, body)]
      }
      let error = try await error(vault)
      #expect(error.code == .malformed)
    }
  }

  // MARK: Tokens

  @Test func aTokenIsRenewedBeforeItExpires() async throws {
    let vault = try vault()
    let clock = HandClock()
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("t0")), clock: clock), mount: "secret",
      path: "keelson/production")
    _ = try await store.load()
    clock.advance(.seconds(2_300))
    _ = try await store.load()
    #expect(vault.state.withLock { $0.renewals } == 0)
    clock.advance(.seconds(200))
    _ = try await store.load()
    _ = try await store.load()
    #expect(vault.state.withLock { $0.renewals } == 1)
  }

  @Test func aTokenThatNeverExpiresIsNotRenewed() async throws {
    let vault = try vault { $0.tokens["root"] = .init() }
    let clock = HandClock()
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("root")), clock: clock), mount: "secret",
      path: "keelson/production")
    _ = try await store.load()
    clock.advance(.seconds(10_000_000))
    _ = try await store.load()
    #expect(vault.store.asked.filter { $0.contains("auth/token") }.count == 1)
  }

  @Test func aTokenFileIsReadAgainWhenItChanges() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("token", "t0\n")
    let vault = try vault()
    let store = VaultSecretStore(
      try vault.client(.tokenFile(file)), mount: "secret", path: "keelson/production")
    _ = try await store.load()
    vault.change {
      $0.tokens = ["t1": .init(ttl: 60)]
    }
    // The old one is refused, and the file says the same: that is what an admin hears.
    await #expect(throws: SecretStoreError.self) { _ = try await store.load() }
    try folder.write("token", "t1\n")
    #expect(try await store.load().values.count == 6)
    #expect(vault.store.requests.last?.headers["x-vault-token"] == "t1")
  }

  @Test func aMissingTokenFileIsNamed() async throws {
    let vault = try vault()
    let store = VaultSecretStore(
      try vault.client(.tokenFile("/nowhere/token")), mount: "secret", path: "p")
    let error = await #expect(throws: SecretStoreError.self) { _ = try await store.load() }
    #expect(error?.message == "The token file for Vault /nowhere/token is not there.")
  }

  // MARK: Kubernetes

  private func kubernetes(_ file: String, role: String = "keelson")
    -> VaultConfiguration.Authentication
  {
    .kubernetes(role: role, tokenFile: file, mount: "kubernetes")
  }

  @Test func aServiceAccountLogsInAndAgainBeforeTheLeaseEnds() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("jwt", "jwt-1")
    let vault = try vault {
      $0.roles["keelson"] = "jwt-1"
      // The renewals get shorter as the end of the token's life comes near.
      $0.longestRenewalSeconds = 60
    }
    let clock = HandClock()
    let store = VaultSecretStore(
      try vault.client(kubernetes(file), clock: clock), mount: "secret",
      path: "keelson/production")
    _ = try await store.load()
    clock.advance(.seconds(2_500))
    vault.change { $0.roles["keelson"] = "jwt-2" }
    try folder.write("jwt", "jwt-2")
    _ = try await store.load()
    #expect(vault.state.withLock { ($0.logins, $0.renewals) } == (2, 1))
    #expect(vault.store.requests.last?.headers["x-vault-token"] == "k8s-2")
    #expect(vault.complaints.isEmpty)
  }

  @Test func aRevokedTokenIsReplacedByALogin() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("jwt", "jwt-1")
    let vault = try vault { $0.roles["keelson"] = "jwt-1" }
    let store = VaultSecretStore(
      try vault.client(kubernetes(file)), mount: "secret", path: "keelson/production")
    _ = try await store.load()
    vault.change { $0.tokens["k8s-1"] = nil }
    #expect(try await store.load().values.count == 6)
    #expect(vault.state.withLock { $0.logins } == 2)
  }

  @Test func aPolicyThatRefusesDoesNotMeanALoginForEachRequest() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("jwt", "jwt-1")
    let vault = try vault { $0.roles["keelson"] = "jwt-1" }
    let clock = HandClock()
    let client = try vault.client(kubernetes(file), clock: clock)
    let store = VaultSecretStore(client, mount: "secret", path: "keelson/production")
    _ = try await store.load()
    for _ in 0..<5 {
      vault.change { state in
        for token in state.tokens.keys { state.tokens[token]?.policies = [] }
        state.faults = []
      }
      await #expect(throws: Never.self) {
        // The new login's token may read again.
        _ = try? await store.load()
      }
    }
    #expect(vault.state.withLock { $0.logins } == 2)
    #expect(vault.state.withLock { $0.revoked } == ["k8s-1"])
    clock.advance(.seconds(60))
    _ = try? await store.load()
    #expect(vault.state.withLock { $0.logins } == 3)
  }

  @Test func aTokenThatMayNotLookAtItselfIsUsed() async throws {
    let vault = try vault { $0.tokens["bare"] = .init(ttl: 60, mayLookUp: false) }
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("bare"))), mount: "secret", path: "keelson/production")
    #expect(try await store.load().values.count == 6)
  }

  @Test func aCancelledWaitForALoginEndsAtOnce() async throws {
    let vault = try vault { $0.faults = [.silence] }
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("t0"))), mount: "secret", path: "keelson/production")
    let first = Task { try await store.load() }
    let second = Task { try await store.load() }
    second.cancel()
    first.cancel()
    await #expect(throws: CancellationError.self) { _ = try await second.value }
    await #expect(throws: CancellationError.self) { _ = try await first.value }
  }

  /// Numbers that are secrets are kept to the digit.
  @Test(arguments: [
    "9007199254740993", "1.10", "123456789012345678901234567890", "-0", "1e21", "1E-7",
  ])
  func numbersAreKeptAsTheyAreWritten(number: String) async throws {
    let vault = try vault {
      $0.secrets["n"] = [#"{"a":\#(number),"b":["x-1 {2}",\#(number)],"c":"q\"3","d":true}"#]
    }
    let store = VaultSecretStore(
      try vault.client(.token(SecretValue("t0"))), mount: "secret", path: "n")
    #expect(
      try await store.load().values.mapValues(\.text) == [
        "a": number, "b:0": "x-1 {2}", "b:1": number, "c": "q\"3", "d": "true",
      ])
  }

  @Test func aRoleThatVaultDoesNotKnowIsNamed() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("jwt", "jwt-1")
    let vault = try vault()
    let store = VaultSecretStore(
      try vault.client(kubernetes(file, role: "other")), mount: "secret", path: "p")
    let error = await #expect(throws: SecretStoreError.self) { _ = try await store.load() }
    #expect(error?.code == .settings)
    #expect(error?.message.contains("invalid role name \"other\"") == true)
    #expect(error?.message.contains("jwt-1") == false)
  }

  @Test func manyWhoNeedATokenAtOnceLogInOnce() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("jwt", "jwt-1")
    let vault = try vault { $0.roles["keelson"] = "jwt-1" }
    let client = try vault.client(kubernetes(file))
    let store = VaultSecretStore(client, mount: "secret", path: "keelson/production")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { _ = try await store.load() } }
      try await group.waitForAll()
    }
    #expect(vault.state.withLock { $0.logins } == 1)
  }

  // MARK: Addresses

  @Test(arguments: [
    "vault:8200", "ftp://vault", "https://", "https://user:s3cr3t@vault", "https://vault:99999",
    "http://vault.example:8200", "http://127.0.0.1.evil.example:8200", "https://vault/#x",
  ])
  func anAddressThatCannotBeMeantIsRefused(address: String) throws {
    let error = #expect(throws: SecretStoreError.self) {
      try VaultConfiguration(address: address, authentication: .token(SecretValue("t")))
    }
    #expect(error?.code == .settings)
    #expect(error?.message.contains("s3cr3t") == false)
  }

  @Test(arguments: [
    "https://vault.example:8200/", "http://127.0.0.1:8200", "http://localhost:8200",
    "http://[::1]:8200", "https://[2001:db8::1]",
  ])
  func anAddressMayBe(address: String) throws {
    _ = try VaultConfiguration(address: address, authentication: .token(SecretValue("t")))
  }
}
