import Foundation
import KeelsonCore
import KeelsonCrypto
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonSecrets

@Suite(.timeLimit(.minutes(5))) struct KeyTests {
  private let folder: ScratchFolder
  private static let hex = String(repeating: "0a", count: 32)
  private static let base64 = Data([UInt8](repeating: 9, count: 32)).base64EncodedString()

  init() throws { folder = try ScratchFolder() }

  private func keys(_ current: String? = nil) throws -> FileKeys {
    try FileKeys(path: folder.path, current: current, logger: .silent)
  }

  private func setTime(_ name: String, _ seconds: Double) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: seconds)],
      ofItemAtPath: "\(folder.path)/\(name)")
  }

  @Test func aKeyMayBeRawHexadecimalOrBase64() throws {
    let raw = [UInt8](repeating: 0x1, count: 32)
    #expect(try KeyText.key(SecretValue(raw), name: "k") == raw)
    for text in [Self.hex, Self.hex.uppercased(), "\(Self.hex)\n"] {
      #expect(try KeyText.key(SecretValue(text), name: "k") == [UInt8](repeating: 10, count: 32))
    }
    for text in [Self.base64, "\(Self.base64)\n", String(Self.base64.dropLast())] {
      #expect(try KeyText.key(SecretValue(text), name: "k") == [UInt8](repeating: 9, count: 32))
    }
  }

  @Test(arguments: [
    "", "short", "\(hex)0a", String(repeating: "x", count: 33),
    "thirty-two characters of a person", "\(base64)\(base64)",
  ])
  func anotherLengthIsRefused(text: String) throws {
    let error = #expect(throws: CryptoError.self) {
      try KeyText.key(SecretValue(text), name: "The key file a")
    }
    #expect(error?.code == .malformed)
    #expect(error?.message.contains("The key file a has \(text.utf8.count) bytes") == true)
    #expect(error?.message.contains("openssl rand") == true)
    #expect(text.count < 6 || error?.message.contains(text) == false)
  }

  @Test func theNewestIsCurrentAndTheOthersUnwrap() async throws {
    try folder.write("b.key", Self.hex)
    try setTime("b.key", 1_000)
    try folder.write("README", "no key")
    let old = try await keys().wrap([1, 2, 3])
    #expect(old.keyID == "b")
    try folder.write("a.key", Self.base64)
    try setTime("a.key", 2_000)
    let keys = try keys()
    #expect(keys.currentID == "a")
    #expect(try await keys.unwrap(old) == [1, 2, 3])
    try setTime("a.key", 1_000)
    let same = try self.keys()
    #expect(same.currentID == "b", "where times are the same the identifier decides")
    #expect(try FileKeys(path: folder.path, current: "a", logger: .silent).currentID == "a")
  }

  @Test func aKeyThatIsPutThereIsInUseAtTheNextLook() async throws {
    try folder.write("1.key", Self.hex)
    let clock = HandClock()
    let keys = try FileKeys(
      path: folder.path, current: nil, logger: .silent, now: { clock.now })
    let old = try await keys.wrap([7])
    try folder.write("2.key", Self.base64)
    try setTime("1.key", 1_000)
    #expect(try await keys.wrap([8]).keyID == "1", "files are looked at once a second")
    clock.advance(.seconds(1))
    let new = try await keys.wrap([8])
    #expect((old.keyID, new.keyID) == ("1", "2"))
    // A broken one changes nothing, and is looked at again until it is whole.
    try folder.write("3.key", "broken")
    clock.advance(.seconds(1))
    #expect(try await keys.wrap([9]).keyID == "2")
    #expect(try await keys.unwrap(old) == [7])
    #expect(try await keys.unwrap(new) == [8])
    try folder.write("3.key", Self.hex)
    clock.advance(.seconds(1))
    #expect(try await keys.wrap([9]).keyID == "3")
    #expect(keys.currentID == "3")
    try folder.write("4.key", Self.hex)
    try await keys.refresh()
    #expect(keys.currentID == "4")
  }

  @Test func aKeyThatIsGivenBackIsFoundAtOnce() async throws {
    try folder.write("1.key", Self.hex)
    try folder.write("2.key", Self.base64)
    let wrapped = try await FileKeys(path: folder.path, current: "2", logger: .silent).wrap([5])
    try FileManager.default.removeItem(atPath: "\(folder.path)/2.key")
    let keys = try keys()
    await #expect(throws: CryptoError.self) { try await keys.unwrap(wrapped) }
    try folder.write("2.key", Self.base64)
    #expect(try await keys.unwrap(wrapped) == [5])
  }

  @Test func aMissingKeyIsNamed() async throws {
    try folder.write("1.key", Self.hex)
    let error = await #expect(throws: CryptoError.self) {
      try await keys().unwrap(WrappedKey(keyID: "lost", bytes: [1]))
    }
    #expect(error?.code == .missingKey)
    #expect(error?.message.contains("'lost'") == true)
    #expect(throws: CryptoError.self) { try keys("other") }
    let empty = try ScratchFolder()
    let none = #expect(throws: CryptoError.self) {
      try FileKeys(path: empty.path, current: nil, logger: .silent)
    }
    #expect(none?.code == .missingKey)
    #expect(none?.message.contains("has no file that ends in .key") == true)
  }

  @Test func aKeyThatOthersMayReadIsWarnedAbout() throws {
    let file = try folder.write("1.key", Self.hex, mode: 0o644)
    let lines = Mutex<[String]>([])
    let logger = Logger(component: "t", humanReadable: true) { line in
      lines.withLock { $0.append(line) }
    }
    _ = try FileKeys(path: file, current: nil, logger: logger)
    #expect(lines.withLock { $0 }.contains { $0.contains("may be read by anybody") })
    #expect(lines.withLock { $0 }.allSatisfy { !$0.contains(Self.hex) })
  }

  @Test func theFirstKeyIsMadeOnce() async throws {
    let path = "\(folder.path)/keys"
    let made = try #require(
      try FileKeys.makeFirst(
        inFolder: path, now: UnixTime(microseconds: 1_764_065_700_000_000)))
    #expect(made == "\(path)/2025-11-25T101500Z.key")
    let files = FileManager.default
    #expect(try files.attributesOfItem(atPath: made)[.posixPermissions] as? Int == 0o600)
    #expect(try files.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o700)
    #expect(try FileKeys.makeFirst(inFolder: path) == nil)
    let keys = try FileKeys(path: path, current: nil, logger: .silent)
    #expect(keys.currentID == "2025-11-25T101500Z")
    #expect(try await keys.unwrap(try await keys.wrap([1])) == [1])
  }

  // MARK: Vault

  private func vault() throws -> FakeVault {
    try FakeVault { state in
      state.tokens["t0"] = .init()
      state.transitKeys["keelson"] = 1
    }
  }

  private func keys(_ vault: FakeVault, name: String = "keelson") throws -> VaultKeys {
    VaultKeys(try vault.client(.token(SecretValue("t0"))), mount: "transit", name: name)
  }

  @Test func transitWrapsAndRotates() async throws {
    let vault = try vault()
    let keys = try keys(vault)
    try await keys.refresh()
    #expect(keys.currentID == "vault:transit/keelson:v1")
    let old = try await keys.wrap([1, 2, 3])
    #expect(old.keyID == "vault:transit/keelson:v1")
    vault.change { $0.transitKeys["keelson"] = 2 }
    try await keys.refresh()
    #expect(keys.currentID == "vault:transit/keelson:v2")
    #expect(try await keys.unwrap(old) == [1, 2, 3])
    #expect(vault.store.asked.contains("POST /v1/transit/encrypt/keelson"))
    #expect(vault.complaints.isEmpty)
  }

  @Test func whatTransitCannotDoIsToldApart() async throws {
    let vault = try vault()
    func code(_ body: () async throws -> Void) async throws -> CryptoError.Code? {
      try await #require(throws: CryptoError.self) { try await body() }.code
    }
    let keys = try keys(vault)
    let old = try await keys.wrap([1])
    let changed = WrappedKey(keyID: "vault:transit/keelson:v1", bytes: Array("vault:x".utf8))
    #expect(try await code { _ = try await keys.unwrap(changed) } == .unauthentic)
    let foreign = WrappedKey(keyID: "local", bytes: [1])
    #expect(try await code { _ = try await keys.unwrap(foreign) } == .missingKey)
    vault.change { state in
      state.transitKeys["keelson"] = 3
      state.oldestTransitVersion = 2
    }
    #expect(try await code { _ = try await keys.unwrap(old) } == .missingKey)
    vault.change { $0.transitKeys = [:] }
    #expect(try await code { _ = try await keys.unwrap(old) } == .missingKey)
    vault.change { $0.faults = [.json(503, #"{"errors":["Vault is sealed"]}"#)] }
    #expect(try await code { _ = try await keys.wrap([1]) } == .unavailable)
    vault.change { $0.faults = [.json(200, #"{"data":{"ciphertext":"nonsense"}}"#)] }
    #expect(try await code { _ = try await keys.wrap([1]) } == .unavailable)
  }

  /// Vault would make a key of a mistyped name.
  @Test func aMistypedNameOfAKeyMakesNone() async throws {
    let vault = try vault()
    let error = await #expect(throws: CryptoError.self) {
      try await keys(vault, name: "kelson").refresh()
    }
    #expect(error?.code == .missingKey)
    #expect(error?.message.contains("vault write -f transit/keys/kelson") == true)
    #expect(vault.state.withLock { $0.transitKeys } == ["keelson": 1])
  }

  @Test func keysDoNotShow() throws {
    let keys = try LocalKeys(["a": [UInt8](repeating: 0xAB, count: 32)], currentID: "a")
    var dumped = ""
    Swift.dump(keys, to: &dumped)
    #expect(!"\(keys) \(String(reflecting: keys)) \(dumped)".contains("171"))
    #expect("\(keys)".contains("a"))
  }
}
