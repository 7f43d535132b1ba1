import Foundation
import KeelsonCodegen

// Called by codegen/generate:
//   keelson-codegen --descriptors SET [--embed SET] --c-module NAME [--runtime-module NAME]
//     --swift-out FOLDER --c-out FOLDER --lowered FILE PROTO...

/// The value after a flag, taken out of the arguments.
func take(_ flag: String, from arguments: inout [String]) -> String? {
  guard let index = arguments.firstIndex(of: flag), index + 1 < arguments.count else { return nil }
  defer { arguments.removeSubrange(index...index + 1) }
  return arguments[index + 1]
}

func write(_ sources: [String: String], into folder: String) throws {
  for (path, text) in sources {
    let url = URL(filePath: folder).appending(path: path)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: url)
  }
}

func run() throws {
  var arguments = Array(CommandLine.arguments.dropFirst())
  guard let descriptors = take("--descriptors", from: &arguments),
    let cModule = take("--c-module", from: &arguments),
    let swiftFolder = take("--swift-out", from: &arguments),
    let cFolder = take("--c-out", from: &arguments),
    let lowered = take("--lowered", from: &arguments)
  else {
    throw CodegenError("missing arguments; run codegen/generate instead")
  }
  let embedded = take("--embed", from: &arguments)
  let runtimeModule = take("--runtime-module", from: &arguments)
  let output = try Generator.generate(
    descriptorSet: [UInt8](Data(contentsOf: URL(filePath: descriptors))),
    embedded: try embedded.map { [UInt8](try Data(contentsOf: URL(filePath: $0))) },
    options: Generator.Options(files: arguments, cModule: cModule, runtimeModule: runtimeModule))
  try write(output.swift, into: swiftFolder)
  try write(output.c, into: cFolder)
  try Data(output.loweredDescriptorSet).write(to: URL(filePath: lowered))
}

do {
  try run()
} catch {
  FileHandle.standardError.write(Data("keelson-codegen: \(error)\n".utf8))
  exit(1)
}
