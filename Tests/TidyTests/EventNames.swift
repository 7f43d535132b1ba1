/// The types of events: what is published is in the catalogue, and is well named.
enum EventNames {
  static let catalogue = "Sources/KeelsonStore/EventCatalogue.swift"

  /// The names that SPEC.md (Events) has for the areas there are.
  static let specified: Set<String> = [
    "SystemHealthChecked", "DatabaseHealthChecked", "BackgroundJobHealthChecked",
    "AuditLogCreated", "LogsArchived",
    "FeatureFlagCreated", "FeatureFlagToggled", "FeatureFlagTargetingUpdated",
    "FeatureFlagEvaluated", "FeatureFlagArchived", "ConfigurationLoaded",
    "ConfigurationValidated", "ConfigurationReloaded", "ConfigurationEncrypted",
    "ConfigurationUpdated", "CacheHealthChecked", "CacheEntryAdded", "CacheInvalidated",
    "CacheWarmed", "CacheStatisticsCollected", "CacheFallbackActivated",
  ]

  /// What the sources publish against the catalogue.
  static func violations(of files: [SourceFile]) -> [Violation] {
    let known = Set(names(in: files.filter { $0.path == catalogue }).map(\.name))
    return names(in: files.filter { $0.path != catalogue }).compactMap { found in
      let message: String? =
        if found.name.hasSuffix("\\(") || found.name.hasSuffix(".") {
          "an event type is put together; write the whole name, so that it can be found"
        } else if !known.contains(found.name) {
          "the event type \(found.name) is not in \(catalogue)"
        } else {
          nil
        }
      return message.map { Violation(path: found.path, line: found.line, message: $0) }
    }
  }

  /// The catalogue against what the sources publish, for the services that are there.
  static func unpublished(in files: [SourceFile]) -> [String] {
    let published = Set(names(in: files.filter { $0.path != catalogue }).map(\.name))
    let services = Set(files.compactMap(\.target))
    return names(in: files.filter { $0.path == catalogue }).map(\.name).filter { name in
      let area = name.split(separator: ".")[1]
      let service = "Keelson" + area.prefix(1).uppercased() + area.dropFirst()
      return services.contains(service) && !published.contains(name)
    }
  }

  /// What the catalogue lacks of what is specified.
  static func missing(in files: [SourceFile]) -> [String] {
    let known = names(in: files.filter { $0.path == catalogue }).map { name in
      String(name.name.split(separator: ".").last ?? "")
    }
    return specified.subtracting(known).sorted()
  }

  /// The types that stand in the sources of the server as literals.
  private static func names(
    in files: [SourceFile]
  ) -> [(name: String, path: String, line: Int)] {
    files.filter { $0.kind == .swift && $0.topFolder == "Sources" && !$0.isGenerated }
      .flatMap { file in
        file.lines.enumerated().flatMap { index, line in
          line.whole.matches(of: #/"(keelson\.[a-z]+\.(?:[A-Z]\w*|\\\())/#).map {
            (String($0.output.1), file.path, index + 1)
          }
        }
      }
  }
}
