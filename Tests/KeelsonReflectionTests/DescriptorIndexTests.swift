import KeelsonAPI
import KeelsonCore
import Testing

@testable import KeelsonReflection

@Suite struct DescriptorIndexTests {
  private let embedded: DescriptorIndex

  init() throws {
    embedded = try DescriptorIndex(serializedSet: FileDescriptors.serializedSet)
  }

  /// The names of serialized files.
  private func names(_ files: [[UInt8]]?) throws -> [String] {
    try (files ?? []).map { file in
      var reader = DescriptorReader(file[...])
      while let (number, content) = try reader.next() {
        if number == 1 { return content.string }
      }
      return ""
    }
  }

  @Test func aFileComesFirstAndWithItAllItImportsEachOnce() throws {
    let files = try names(embedded.file(named: "keelson/flags/v1/flags.proto"))
    #expect(files.first == "keelson/flags/v1/flags.proto")
    #expect(files.contains("google/protobuf/struct.proto"))
    #expect(files.count == Set(files).count)
    // Imported by what it imports only.
    #expect(try names(embedded.file(named: "google/rpc/status.proto")).count == 2)
    #expect(embedded.file(named: "keelson/flags/v1/flags") == nil)
    #expect(embedded.file(named: "") == nil)
  }

  @Test(
    arguments: [
      "grpc.health.v1.Health", "grpc.health.v1.Health.Watch", "grpc.health.v1.HealthListResponse",
      "grpc.health.v1.HealthListResponse.statuses",
      "grpc.health.v1.HealthListResponse.StatusesEntry",
      "grpc.health.v1.HealthListResponse.StatusesEntry.key",
      "grpc.health.v1.HealthCheckResponse.ServingStatus",
      "grpc.health.v1.HealthCheckResponse.SERVING",
    ])
  func eachKindOfSymbolIsFound(symbol: String) throws {
    #expect(try names(embedded.file(containing: symbol)) == ["grpc/health/v1/health.proto"])
  }

  @Test func aOneofAndAnEnumOnTheOutermostLevelAreFound() throws {
    #expect(
      try names(embedded.file(containing: "google.protobuf.Value.kind")).first
        == "google/protobuf/struct.proto")
    #expect(
      try names(embedded.file(containing: "google.rpc.NOT_FOUND")) == ["google/rpc/code.proto"])
    #expect(try names(embedded.file(containing: "google.rpc.Code")) == ["google/rpc/code.proto"])
  }

  @Test(
    arguments: [
      "", ".", "grpc.health.v1", "Health", ".grpc.health.v1.Health", "grpc.health.v1.Health.",
      "grpc.health.v1.Health.Nothing",
      // A value stands beside its enum.
      "grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING",
    ])
  func whatIsNoSymbolIsNotFound(symbol: String) {
    #expect(embedded.file(containing: symbol) == nil)
  }

  @Test func aMessageWithoutExtensionsHasNone() {
    #expect(embedded.extensionNumbers(of: "google.rpc.Status") == [])
    #expect(embedded.extensionNumbers(of: "google.rpc.Nothing") == nil)
    #expect(embedded.file(containingExtension: 100, of: "google.rpc.Status") == nil)
  }

  /// base.proto: message Base, extended by 7 in it (from Scope) and by 9 from more.proto.
  private func extended() throws -> DescriptorIndex {
    func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
      [number << 3 | 2, UInt8(content.count)] + content
    }
    func text(_ number: UInt8, _ text: String) -> [UInt8] { field(number, Array(text.utf8)) }
    func extending(_ name: String, _ number: UInt8) -> [UInt8] {
      text(1, name) + text(2, ".test.Base") + [3 << 3, number]
    }
    let base =
      text(1, "base.proto") + field(4, text(1, "Base"))
      + field(4, text(1, "Scope") + field(6, extending("seven", 7))) + text(2, "test")
    let more =
      text(1, "more.proto") + text(2, "test") + text(3, "base.proto")
      + field(7, extending("nine", 9))
    return try DescriptorIndex(serializedSet: field(1, base) + field(1, more))
  }

  @Test func extensionsAreFoundByNumberAndByName() throws {
    let index = try extended()
    #expect(index.extensionNumbers(of: "test.Base") == [7, 9])
    #expect(try names(index.file(containingExtension: 7, of: "test.Base")) == ["base.proto"])
    #expect(
      try names(index.file(containingExtension: 9, of: "test.Base"))
        == ["more.proto", "base.proto"])
    #expect(index.file(containingExtension: 8, of: "test.Base") == nil)
    #expect(try names(index.file(containing: "test.Scope.seven")) == ["base.proto"])
    #expect(try names(index.file(containing: "test.nine")).first == "more.proto")
  }

  @Test(arguments: [[0x0A], [0x0A, 5, 1], [0x0B], [0x0A, 2, 0x22, 9], [0x80]] as [[UInt8]])
  func bytesThatAreNoDescriptorSetAreRefused(bytes: [UInt8]) throws {
    let error = #expect(throws: RPCError.self) { try DescriptorIndex(serializedSet: bytes) }
    #expect(error?.code == .internalError)
  }
}
