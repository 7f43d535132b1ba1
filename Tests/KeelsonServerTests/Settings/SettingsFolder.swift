import Foundation
import KeelsonConfigurationRules
import KeelsonCore

@testable import KeelsonServer

/// A folder with a configuration, gone afterwards.
final class SettingsFolder {
  let path: String

  init() throws {
    path =
      FileManager.default.temporaryDirectory
      .appending(path: "keelson-settings-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let file = URL(fileURLWithPath: "\(path)/\(name)")
    try FileManager.default.createDirectory(
      at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file, options: .atomic)
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
    return file.path
  }

  /// The layer of the command line.
  static func options(_ values: [String: SettingValue]) -> LayerValues {
    LayerValues(.commandLine, values.mapValues { LayerValue($0, source: "--option") })
  }

  func loader(
    variables: [String: String] = [:], options: [String: SettingValue] = [:],
    logger: Logger = .silent
  ) -> SettingsLoader {
    SettingsLoader(
      path: path, variables: variables, options: Self.options(options), logger: logger)
  }

  /// Loads what the folder has, and an empty base file when it has none.
  func load(
    variables: [String: String] = [:], options: [String: SettingValue] = [:]
  ) async throws -> SettingsLoader.Loaded {
    if !FileManager.default.fileExists(atPath: "\(path)/appsettings.json") {
      try write("appsettings.json", "{}")
    }
    return try await loader(variables: variables, options: options).load()
  }
}
