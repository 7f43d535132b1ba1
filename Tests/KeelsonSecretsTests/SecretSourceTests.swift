import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonSecrets

@Suite struct SecretSourceTests {
  private final class FakeStore: SecretStore {
    let next = Mutex<Result<LoadedSecrets, SecretStoreError>>(.success(.init()))
    let name = "a store"

    func load() async throws -> LoadedSecrets { try next.withLock { $0 }.get() }

    func give(_ values: [String: String], warnings: [String] = []) {
      next.withLock {
        $0 = .success(
          .init(values: values.mapValues { SecretValue($0) }, warnings: warnings))
      }
    }

    func fail(_ code: SecretStoreError.Code = .unreachable) {
      next.withLock { $0 = .failure(SecretStoreError(code, "It is away.", cause: "c")) }
    }
  }

  private final class Lines: Sendable {
    let all = Mutex<[String]>([])

    var logger: Logger {
      Logger(component: "test", minimum: .info, humanReadable: false) { line in
        self.all.withLock { $0.append(line) }
      }
    }
    func count(_ level: String) -> Int {
      all.withLock { $0.count { $0.contains("\"level\":\"\(level)\"") } }
    }
  }

  private let store = FakeStore()
  private let lines = Lines()

  private func source(isOptional: Bool = false) -> SecretSource {
    SecretSource(store, isOptional: isOptional, logger: lines.logger)
  }

  @Test func aFailureAtTheStartPreventsIt() async throws {
    store.fail()
    let error = await #expect(throws: SecretStoreError.self) { try await source().start() }
    #expect(error?.message.hasPrefix("It is away.") == true)
    try await source(isOptional: true).start()
  }

  @Test func aFailureLaterKeepsTheOldValues() async throws {
    let source = source()
    let check = SecretStoreHealthCheck(source, name: "secrets")
    store.give(["A": "1"])
    try await source.start()
    #expect(try await check.check() == .healthy)
    store.fail()
    for _ in 0..<3 {
      guard case .failed(let error) = try await source.reload() else {
        Issue.record("no failure")
        return
      }
      #expect(error.code == .unreachable)
    }
    #expect(source.values["A"]?.text == "1")
    // Said once, not at each reload.
    #expect(lines.count("error") == 1)
    let outcome = try await check.check()
    #expect(outcome.level == .degraded)
    #expect(outcome.reason.contains("unreachable") && !outcome.reason.contains("away"))
    store.give(["A": "1"])
    #expect(try await source.reload() == .unchanged)
    #expect(try await check.check() == .healthy)
    #expect(lines.count("info") == 1)
  }

  @Test func theKeysThatChangedAreNamed() async throws {
    let source = source()
    store.give(["A": "1", "B": "1", "C": "1"])
    try await source.start()
    store.give(["A": "1", "B": "2", "D": "1"])
    #expect(try await source.reload() == .changed(keys: ["B", "C", "D"]))
    #expect(try await source.reload() == .unchanged)
  }

  @Test func aWarningIsLoggedOnce() async throws {
    let source = source()
    store.give(["A": "marked-secret"], warnings: ["chmod it."])
    try await source.start()
    _ = try await source.reload()
    #expect(lines.count("warning") == 1)
    #expect(lines.all.withLock { $0.allSatisfy { !$0.contains("marked-secret") } })
  }

  @Test func aSecretDoesNotShow() {
    let secret = SecretValue("marked-secret")
    let pair = (secret, ["a": secret], Optional(secret), LoadedSecrets(values: ["a": secret]))
    var dumped = ""
    Swift.dump(pair, to: &dumped)
    let shown = "\(secret) \(pair) \(String(reflecting: pair)) \(String(describing: pair))" + dumped
    #expect(!shown.contains("marked") && !shown.contains("109"))
    #expect(shown.contains(SecretValue.mask))
    #expect(secret == SecretValue(Array("marked-secret".utf8)))
    #expect(secret != SecretValue("marked-secreT") && secret != SecretValue("marked"))
  }
}
