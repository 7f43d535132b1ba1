import Foundation
import KeelsonCodegen
import Testing

/// Generates from the .proto files in codegen/Golden and compares whole outputs.
///
/// After a deliberate change, `KEELSON_UPDATE_GOLDEN=1 swift test --filter GoldenTests` writes the
/// outputs anew; read the difference before you commit it.
@Suite struct GoldenTests {
  private static let golden = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "codegen/Golden")

  @Test(arguments: ["shop"])
  func outputsAreAsExpected(name: String) throws {
    let folder = Self.golden.appending(path: name)
    let output = try Generator.generate(
      descriptorSet: try Protoc.descriptorSet(of: "\(name).proto", in: folder),
      options: Generator.Options(
        files: ["\(name).proto"], cModule: "GoldenProtoC", runtimeModule: "KeelsonAPI"))
    var files = output.swift.merging(output.c) { swift, _ in swift }
    files["lowered.hex"] = output.loweredDescriptorSet.map { String($0, radix: 16) }
      .joined(separator: " ")
    #expect(files.count == 7)
    let isUpdate = ProcessInfo.processInfo.environment["KEELSON_UPDATE_GOLDEN"] == "1"
    for (path, text) in files {
      let expected = folder.appending(
        path: path.replacing("/", with: "_") + ".expected")
      if isUpdate { try Data(text.utf8).write(to: expected) }
      #expect(try String(contentsOf: expected, encoding: .utf8) == text, "\(path)")
    }
  }

  @Test func proto2AndFilesWithoutPackageAreRefusedWithTheReason() throws {
    for (text, reason) in [
      ("syntax = \"proto2\"; package a;", "only proto3"), ("syntax = \"proto3\";", "no package"),
    ] {
      let folder = FileManager.default.temporaryDirectory.appending(path: "refused-\(UUID())")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(at: folder) }
      try Data(text.utf8).write(to: folder.appending(path: "a.proto"))
      let set = try Protoc.descriptorSet(of: "a.proto", in: folder)
      let error = try #require(throws: CodegenError.self) {
        try Generator.generate(
          descriptorSet: set,
          options: Generator.Options(files: ["a.proto"], cModule: "C"))
      }
      #expect(error.message.contains("a.proto"))
      #expect(error.message.contains(reason))
    }
  }

  @Test func aDamagedDescriptorSetIsRefused() throws {
    let folder = Self.golden.appending(path: "shop")
    let set = try Protoc.descriptorSet(of: "shop.proto", in: folder)
    #expect(throws: CodegenError.self) {
      try Generator.generate(
        descriptorSet: Array(set.dropLast()),
        options: Generator.Options(files: ["shop.proto"], cModule: "C"))
    }
    #expect(throws: CodegenError.self) {
      try Generator.generate(
        descriptorSet: set, options: Generator.Options(files: ["other.proto"], cModule: "C"))
    }
  }
}
