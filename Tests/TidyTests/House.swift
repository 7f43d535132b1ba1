/// The rooms of the house and the arrows between them: which target may depend on which.
///
/// C modules ← Core ← (API, Transport, Store) ← engines, services ← Server; Client ← (Core, API,
/// Transport, FlagRules); Worker ← (Client, HTTP). docs/architecture.md explains why.
enum House {
  /// What is not a service, an executable of its own, or a test.
  private static let arrows: [String: Set<String>] = [
    "KeelsonProtoC": ["CProtobufC"],
    "KeelsonCore": [],
    "KeelsonAPI": ["KeelsonCore", "KeelsonProtoC", "CProtobufC"],
    "KeelsonTransport": ["KeelsonCore", "CNghttp2", "CLibUV", "COpenSSL", "CZlib"],
    "KeelsonCrypto": ["COpenSSL"],
    "KeelsonAuditTrail": ["KeelsonCore", "KeelsonCrypto", "CZlib"],
    "KeelsonStore": ["KeelsonCore", "KeelsonAuditTrail"],
    "KeelsonFlagRules": ["KeelsonCore"],
    "KeelsonConfigurationRules": ["KeelsonCore"],
    "KeelsonJobRules": ["KeelsonCore"],
    "KeelsonCacheRules": ["KeelsonCore"],
    "KeelsonHTTP": ["KeelsonCore", "CLibCurl"],
    "KeelsonSecrets": ["KeelsonCore", "KeelsonCrypto", "KeelsonHTTP"],
    "KeelsonSQLite": ["KeelsonCore", "KeelsonStore", "CSQLite"],
    "KeelsonPostgres": ["KeelsonCore", "KeelsonStore", "KeelsonTransport", "CLibPQ"],
    "KeelsonRedis": ["KeelsonCore", "KeelsonTransport", "KeelsonCacheRules", "CHiredis"],
    "KeelsonClient": [
      "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonFlagRules",
      "KeelsonConfigurationRules", "KeelsonCacheRules",
    ],
    "KeelsonWorker": [
      "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonConfigurationRules", "KeelsonHTTP",
      "KeelsonClient", "CLinuxProcess",
    ],
    "keelson": [
      "KeelsonCore", "KeelsonCrypto", "KeelsonAPI", "KeelsonTransport", "KeelsonAuditTrail",
      "KeelsonServer", "KeelsonClient", "KeelsonConfigurationRules", "KeelsonWorker",
    ],
    "KeelsonCodegen": [],
    "keelson-codegen": ["KeelsonCodegen"],
    "KeelsonTestKit": [
      "KeelsonCore", "KeelsonTransport", "KeelsonAuditTrail", "KeelsonStore", "KeelsonSQLite",
      "KeelsonPostgres", "KeelsonCacheRules", "COpenSSL",
    ],
    "KeelsonTestProtoC": ["CProtobufC", "KeelsonProtoC"],
    "KeelsonTestMessages": [
      "KeelsonCore", "KeelsonAPI", "KeelsonProtoC", "KeelsonTestProtoC", "CProtobufC",
    ],
    "InteropServer": [
      "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonHealth", "KeelsonTestMessages",
    ],
    "CachePeer": ["KeelsonClient"],
    "InteropClient": ["KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonTestMessages"],
    "StoreCrashWriter": [
      "KeelsonCore", "KeelsonTransport", "KeelsonAuditTrail", "KeelsonStore", "KeelsonSQLite",
      "KeelsonPostgres",
    ],
  ]

  private static let foundation: Set<String> = [
    "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonStore", "KeelsonFlagRules",
    "KeelsonConfigurationRules", "KeelsonCacheRules", "KeelsonCrypto", "KeelsonAuditTrail",
    "KeelsonHTTP", "KeelsonSecrets",
  ]
  private static let engines: Set<String> = ["KeelsonSQLite", "KeelsonPostgres", "KeelsonRedis"]

  /// What each service may use; beside it, only rules of its own (`KeelsonFlags`,
  /// `KeelsonFlagRules`).
  private static let ofEveryService: Set<String> = ["KeelsonCore", "KeelsonAPI", "KeelsonStore"]
  /// What a service may use where it needs it.
  private static let ofSomeServices: Set<String> = ["KeelsonCrypto", "KeelsonAuditTrail"]

  /// Modules of the toolchain and the system. C comes in through our own modules only.
  static let systemModules: Set<String> = [
    "Swift", "Glibc", "Musl", "Foundation", "FoundationEssentials", "Synchronization",
    "Dispatch",
  ]

  /// What a target may depend on; nil when anything (tests, benchmarks).
  static func allowed(for target: Manifest.Target, in manifest: Manifest) -> Set<String>? {
    if let arrows = arrows[target.name] { return arrows }
    if target.isOutside { return nil }
    switch target.kind {
    case .systemLibrary: return []
    case .service:
      return ofEveryService.union(ofSomeServices).union(
        manifest.targets.map(\.name).filter { isRules($0, of: target) })
    case .library where target.name == "KeelsonServer":
      let services = manifest.targets.filter { $0.kind == .service }.map(\.name)
      return foundation.union(engines).union(services)
    case .tests: return nil
    case .library, .executable: return []
    }
  }

  /// `KeelsonFlagRules` for `KeelsonFlags`: the rules library that carries the service's name.
  private static func isRules(_ name: String, of service: Manifest.Target) -> Bool {
    let singular = service.name.hasSuffix("s") ? String(service.name.dropLast()) : service.name
    return name == "\(singular)Rules"
  }

  /// The package's own arrows against those of the house.
  static func violations(of manifest: Manifest) -> [Violation] {
    manifest.targets.flatMap { target -> [Violation] in
      guard let allowed = allowed(for: target, in: manifest) else { return [] }
      return target.dependencies.subtracting(allowed).sorted().map {
        Violation(
          path: "Package.swift", line: nil, message: "\(target.name) must not depend on \($0)")
      }
    }
  }

  /// What the files import against what Package.swift says their targets depend on.
  static func violations(of files: [SourceFile], in manifest: Manifest) -> [Violation] {
    var violations: [Violation] = []
    var imported: [String: Set<String>] = [:]
    for file in files where file.kind == .swift {
      guard let name = file.target, let target = manifest[name] else { continue }
      for (index, line) in file.lines.enumerated() {
        guard let module = line.code.importedModule else { continue }
        imported[name, default: []].insert(module)
        let isAllowed =
          target.dependencies.contains(module) || systemModules.contains(module)
          || (module == "Testing" && (target.kind == .tests || name == "KeelsonTestKit"))
        if !isAllowed {
          violations.append(
            Violation(
              path: file.path, line: index + 1,
              message: "\(name) does not depend on \(module) in Package.swift"))
        }
      }
    }
    // An arrow that no import needs is drawn too much; services all have the same.
    for target in manifest.targets where target.kind != .tests {
      guard let modules = imported[target.name] else { continue }
      let needed = target.kind == .service ? modules.union(ofEveryService) : modules
      for unused in target.dependencies.subtracting(needed).sorted() {
        violations.append(
          Violation(
            path: "Package.swift", line: nil,
            message: "\(target.name) depends on \(unused) but imports it nowhere"))
      }
    }
    return violations
  }

  /// Folders of Swift files that are no target, and so are never built.
  static func strays(of files: [SourceFile], in manifest: Manifest) -> [Violation] {
    let folders = Set(
      files.filter { ["Sources", "Tests", "codegen"].contains($0.topFolder) && $0.kind == .swift }
        .compactMap(\.target))
    let names = Set(manifest.targets.map(\.name))
    return folders.subtracting(names).sorted().map {
      Violation(path: $0, line: nil, message: "is no target of Package.swift")
    }
  }
}

extension String {
  /// The module that a line of Swift imports.
  var importedModule: String? {
    guard contains("import ") else { return nil }
    let statement =
      #/
      ^\s*
      (?: @\w+ (?: \( [^\)]* \) )? \s+ )*
      (?: (?: public|package|internal|fileprivate|private ) \s+ )?
      import \s+
      (?: (?: struct|class|enum|protocol|func|var|let|typealias|actor ) \s+ )?
      (\w+)
      /#
    return firstMatch(of: statement).map { String($0.output.1) }
  }
}
