import Foundation
import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonSecrets

@Suite(.timeLimit(.minutes(5))) struct AzureSecretStoreTests {
  private func azure(_ change: (inout FakeAzure.State) -> Void = { _ in }) throws -> FakeAzure {
    try FakeAzure { state in
      state.secrets = [
        ("Database--Password", .init(value: "p")), ("Api-Key", .init(value: "ü\n")),
        ("disabled", .init(value: "d", isEnabled: false)),
        ("certificate", .init(value: "c", isManaged: true)), ("Last", .init(value: "l")),
      ]
      change(&state)
    }
  }

  private func error(
    _ azure: FakeAzure, client: String = "app id", tenant: String = "contoso.example",
    secret: AzureConfiguration.Secret = .value(SecretValue("client secret &=")),
    waits: Waits = Waits()
  ) async throws -> SecretStoreError {
    let store = try azure.secrets(client: client, tenant: tenant, secret: secret, waits: waits)
    return try await #require(throws: SecretStoreError.self) { _ = try await store.load() }
  }

  @Test func everySecretOfEveryPageIsFetched() async throws {
    let azure = try azure()
    let values = try await azure.secrets().load().values
    #expect(
      values.mapValues(\.text) == ["Database:Password": "p", "Api-Key": "ü\n", "Last": "l"])
    #expect(azure.complaints.isEmpty)
    let asked = azure.store.asked
    #expect(asked.first == "POST /contoso.example/oauth2/v2.0/token")
    #expect(asked[1] == "GET /secrets?api-version=7.4&maxresults=25")
    #expect(asked.filter { $0.hasPrefix("GET /secrets?") }.count == 3)
    #expect(asked.contains("GET /secrets/Database--Password?api-version=7.4"))
    #expect(!asked.contains { $0.contains("disabled") || $0.contains("certificate") })
  }

  @Test func onlyWhatChangedIsFetchedAgain() async throws {
    let azure = try azure()
    let store = try azure.secrets()
    _ = try await store.load()
    let before = azure.store.requests.count
    azure.change { $0.secrets[0].secret = .init(value: "new", updated: 1_700_000_001) }
    #expect(try await store.load().values["Database:Password"]?.text == "new")
    let asked = azure.store.asked.dropFirst(before).filter { $0.hasPrefix("GET /secrets/") }
    #expect(asked == ["GET /secrets/Database--Password?api-version=7.4"])
    azure.change { $0.secrets.removeLast() }
    #expect(try await store.load().values["Last"] == nil)
  }

  /// The time of change has whole seconds: two changes within one look like one.
  @Test func aSecretThatHasJustChangedIsFetchedAgain() async throws {
    let azure = try azure {
      $0.secrets = [("A", .init(value: "1", updated: Int(time(nil))))]
    }
    let store = try azure.secrets()
    _ = try await store.load()
    azure.change { $0.secrets[0].secret.value = "2" }
    #expect(try await store.load().values["A"]?.text == "2")
  }

  @Test func aSecretThatIsDeletedMeanwhileIsLeftOut() async throws {
    let azure = try azure {
      $0.pageSize = 10
      $0.faults = [
        .json(200, #"{"value":[{"id":"https://v/secrets/Gone"},{"id":"https://v/secrets/Last"}]}"#)
      ]
    }
    #expect(try await azure.secrets().load().values.mapValues(\.text) == ["Last": "l"])
  }

  @Test func aTokenIsKeptUntilShortlyBeforeItExpires() async throws {
    let azure = try azure()
    let clock = HandClock()
    let store = try azure.secrets(clock: clock)
    _ = try await store.load()
    clock.advance(.seconds(3_200))
    _ = try await store.load()
    #expect(azure.state.withLock { $0.tokenCount } == 1)
    clock.advance(.seconds(100))
    _ = try await store.load()
    #expect(azure.state.withLock { $0.tokenCount } == 2)
  }

  @Test func aTokenThatTheVaultRefusesIsReplacedOnce() async throws {
    let azure = try azure()
    let store = try azure.secrets()
    _ = try await store.load()
    azure.change { $0.tokens = [] }
    _ = try await store.load()
    #expect(azure.state.withLock { $0.tokenCount } == 2)
    azure.change { $0.faults = .init(repeating: .json(401, "{}"), count: 2) }
    let refused = await #expect(throws: SecretStoreError.self) { _ = try await store.load() }
    #expect(refused?.code == .denied)
    #expect(azure.state.withLock { $0.tokenCount } == 3)
  }

  @Test func theSecretOfTheApplicationMayStandInAFile() async throws {
    let folder = try ScratchFolder()
    let file = try folder.write("secret", "client secret &=\n")
    let azure = try azure()
    #expect(try await azure.secrets(secret: .file(file)).load().values.count == 3)
  }

  @Test func whatWentWrongIsToldApart() async throws {
    let azure = try azure()
    let wrong = try await error(azure, secret: .value(SecretValue("marked-secret")))
    #expect(wrong.code == .denied)
    #expect(wrong.message.contains("AADSTS7000215"))
    #expect(!"\(wrong) \(wrong.cause ?? "")".contains("marked-secret"))
    #expect(!wrong.message.contains("Trace ID"))
    let client = try await error(azure, client: "other")
    #expect(client.code == .settings)
    #expect(client.message.contains("'other'") || client.message.contains(" other "))
    #expect(try await error(azure, tenant: "nobody").code == .settings)
    for (status, code) in [(403, "denied"), (404, "missing"), (302, "malformed"), (501, "failed")] {
      azure.change { $0.faults = [.json(status, #"{"error":{"code":"X","message":"y"}}"#)] }
      let error = try await error(azure)
      #expect(error.code.description == code)
    }
  }

  @Test func throttlingIsHonoured() async throws {
    let azure = try azure {
      $0.faults = [.json(429, "{}", headers: ["Retry-After": "10"]), .json(503, "{}")]
      $0.tokenFaults = [.json(429, "{}")]
    }
    let waits = Waits()
    #expect(try await azure.secrets(waits: waits).load().values.count == 3)
    #expect(waits.all == [.milliseconds(500), .seconds(10), .seconds(1)])
    azure.change { $0.faults = .init(repeating: .json(429, "{}"), count: 4) }
    #expect(try await error(azure).code == .throttled)
  }

  @Test func theTokenGoesToNoOtherHost() async throws {
    let other = try LocalHTTPServer { _ in .json(200, #"{"value":[]}"#) }
    defer { other.stop() }
    let origins = [other.address, "https://127.0.0.1:\(other.port)", "http://evil.example", "//x"]
    for origin in origins {
      let azure = try azure { $0.linkOrigin = origin }
      let error = try await error(azure)
      #expect(error.code == .malformed)
      #expect(error.message.contains("another host"))
    }
    #expect(other.requests.isEmpty)
  }

  /// Links name the port even where it goes without saying.
  @Test func theUsualPortIsTheSameHost() throws {
    let plain = try StoreURL(parsing: "https://v.vault.azure.net", what: "x")
    let link = try StoreURL(
      parsing: "https://V.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=a", what: "x")
    #expect(plain.origin == link.origin)
    #expect(link.text == "https://v.vault.azure.net/secrets?api-version=7.4&$skiptoken=a")
  }

  @Test func aListWithoutEndIsGivenUp() async throws {
    let azure = try azure { $0.isLoop = true }
    let error = try await error(azure)
    #expect(error.code == .malformed)
    #expect(error.message.contains("without end"))
  }

  @Test func twoSecretsForOneKeyAreRefused() async throws {
    let azure = try azure {
      $0.secrets = [("A--B", .init(value: "1")), ("A--B", .init(value: "2"))]
    }
    #expect(try await error(azure).message.contains("A:B"))
  }

  @Test(arguments: [
    "", "[]", "{}", #"{"value":{}}"#, #"{"value":[{"id":7}]}"#,
    #"{"value":[{"id":"https://v/secrets/../../x y"}]}"#,
  ])
  func garbageIsRefused(body: String) async throws {
    let azure = try azure { $0.faults = [.json(200, body)] }
    #expect(try await error(azure).code == .malformed)
    let tokens = try FakeAzure { $0.tokenFaults = [.json(200, body)] }
    #expect(try await error(tokens).code == .malformed)
  }
}
