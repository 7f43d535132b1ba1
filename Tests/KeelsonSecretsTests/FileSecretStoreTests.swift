import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonSecrets

@Suite struct FileSecretStoreTests {
  private let folder: ScratchFolder
  private var store: FileSecretStore { FileSecretStore(folder: "\(folder.path)/") }

  init() throws { folder = try ScratchFolder() }

  private func error() async throws -> SecretStoreError {
    try await #require(throws: SecretStoreError.self) { _ = try await store.load() }
  }

  @Test func eachFileIsASecret() async throws {
    try folder.write("Database__Password", "p w\n")
    try folder.write("Windows", "x\r\n")
    try folder.write("Lines", "a\nb\n\n")
    try folder.write("Empty", "")
    try folder.write(".hidden", "no")
    let loaded = try await store.load()
    #expect(
      loaded.values.mapValues(\.text) == [
        "Database:Password": "p w", "Windows": "x", "Lines": "a\nb\n", "Empty": "",
      ])
    #expect(loaded.warnings.isEmpty)
  }

  @Test func filesThatOthersCanReachAreWarnedAbout() async throws {
    try folder.write("Everybody", "x", mode: 0o644)
    try folder.write("Writable", "x", mode: 0o660)
    try folder.write("Group", "x", mode: 0o640)
    try FileManager.default.createDirectory(
      atPath: "\(folder.path)/sub", withIntermediateDirectories: true)
    let warnings = try await store.load().warnings
    #expect(warnings.count == 3)
    #expect(warnings.contains { $0.contains("Everybody may be read by anybody") })
    #expect(warnings.contains { $0.contains("Writable may be changed by others") })
    #expect(warnings.contains { $0.contains("sub is a folder") })
  }

  /// As the kubelet does it: files lead through `..data`, which is renamed over in one step.
  @Test func aSwapOfKubernetesIsSeenWhole() async throws {
    let files = FileManager.default
    func version(_ name: String, _ values: [String: String]) throws {
      let path = "\(folder.path)/..\(name)"
      try files.createDirectory(atPath: path, withIntermediateDirectories: true)
      for (key, value) in values { try folder.write("..\(name)/\(key)", value) }
      try files.createSymbolicLink(
        atPath: "\(folder.path)/..data_tmp", withDestinationPath: "..\(name)")
      #expect(rename("\(folder.path)/..data_tmp", "\(folder.path)/..data") == 0)
    }
    try version("1", ["A": "a1", "B": "b1"])
    for name in ["A", "B"] {
      try files.createSymbolicLink(
        atPath: "\(folder.path)/\(name)", withDestinationPath: "..data/\(name)")
    }
    let before = store.signature
    #expect(try await store.load().values.mapValues(\.text) == ["A": "a1", "B": "b1"])
    #expect(store.signature == before)
    try version("2", ["A": "a2", "B": "b2"])
    #expect(store.signature != before)
    #expect(try await store.load().values.mapValues(\.text) == ["A": "a2", "B": "b2"])
  }

  @Test func aFileReplacedByRenamingIsSeen() async throws {
    try folder.write("A", "1")
    let before = store.signature
    try folder.write(".new", "2")
    #expect(rename("\(folder.path)/.new", "\(folder.path)/A") == 0)
    #expect(store.signature != before)
  }

  @Test func whatCannotBeASecretIsRefused() async throws {
    try folder.write("Binary", [0xFF, 0xFE])
    #expect(try await error().message.contains("base64"))
    try folder.write("Binary", [UInt8](repeating: 0x61, count: SecretFile.maximumBytes + 1))
    #expect(try await error().message.contains("more than the limit"))
    try folder.write("Binary", "x")
    try folder.write("A__B", "x")
    try folder.write("A:B", "x")
    #expect(try await error().message.contains("mean the same key"))
  }

  @Test func aMissingFolderIsNamed() async throws {
    let store = FileSecretStore(folder: "\(folder.path)/none")
    let error = await #expect(throws: SecretStoreError.self) { _ = try await store.load() }
    #expect(error?.code == .missing)
    #expect(error?.message == "The folder of secrets \(folder.path)/none is not there.")
    #expect(store.signature == nil)
  }

  @Test func anAmountOverTheLimitIsRefused() async throws {
    for number in 0...SecretFolder.maximumFiles { try folder.write("S\(number)", "") }
    #expect(try await error().message.contains("more than 1000 files"))
  }
}
