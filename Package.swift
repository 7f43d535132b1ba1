// swift-tools-version: 6.2
import PackageDescription

// Targets stand in layer order, bottom first: a target may only name targets above it in this
// file. docs/architecture.md draws the arrows; TidyTests checks them.

let common: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .enableUpcomingFeature("ImmutableWeakCaptures"),
  .treatAllWarnings(as: .error),
]

/// A target that calls C: each C expression there says `unsafe`.
let touchingC: [SwiftSetting] = common + [.strictMemorySafety()]

func library(
  _ name: String, _ dependencies: [Target.Dependency], settings: [SwiftSetting] = common
) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// A service: the same arrows for each, and none to another service.
func service(_ name: String, _ extra: [Target.Dependency] = []) -> Target {
  library(name, ["KeelsonCore", "KeelsonAPI", "KeelsonStore"] + extra)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency], settings: [SwiftSetting] = common
) -> Target {
  .testTarget(
    name: name, dependencies: dependencies + ["KeelsonTestKit"], swiftSettings: settings)
}

let package = Package(
  name: "keelson",
  products: [
    .executable(name: "keelson", targets: ["keelson"]),
    .library(name: "KeelsonClient", targets: ["KeelsonClient"]),
  ],
  targets: [
    // C modules
    .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2"),
    .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c"),
    .systemLibrary(name: "CLibCurl", pkgConfig: "libcurl"),
    .systemLibrary(name: "CLibUV", pkgConfig: "libuv"),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl"),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3"),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq"),
    // Its pkg-config file sets a macro that SwiftPM refuses; the module map says what to link.
    .systemLibrary(name: "CHiredis"),
    .systemLibrary(name: "CLinuxProcess"),
    .target(name: "KeelsonProtoC", dependencies: ["CProtobufC"]),

    // Core and what stands on it alone
    library("KeelsonCore", []),
    library(
      "KeelsonAPI", ["KeelsonCore", "KeelsonProtoC", "CProtobufC"], settings: touchingC),
    library(
      "KeelsonTransport", ["KeelsonCore", "CNghttp2", "CLibUV", "COpenSSL", "CZlib"],
      settings: touchingC),
    library("KeelsonCrypto", ["COpenSSL"], settings: touchingC),
    library(
      "KeelsonAuditTrail", ["KeelsonCore", "KeelsonCrypto", "CZlib"], settings: touchingC),
    library("KeelsonStore", ["KeelsonCore", "KeelsonAuditTrail"]),
    library("KeelsonFlagRules", ["KeelsonCore"]),
    library("KeelsonConfigurationRules", ["KeelsonCore"]),
    library("KeelsonJobRules", ["KeelsonCore"]),
    library("KeelsonCacheRules", ["KeelsonCore"]),

    library("KeelsonHTTP", ["KeelsonCore", "CLibCurl"], settings: touchingC),
    library(
      "KeelsonSecrets", ["KeelsonCore", "KeelsonCrypto", "KeelsonHTTP"], settings: touchingC),

    // Engines
    library("KeelsonSQLite", ["KeelsonStore", "CSQLite"], settings: touchingC),
    library(
      "KeelsonPostgres", ["KeelsonCore", "KeelsonStore", "KeelsonTransport", "CLibPQ"],
      settings: touchingC),
    library(
      "KeelsonRedis", ["KeelsonCore", "KeelsonTransport", "KeelsonCacheRules", "CHiredis"],
      settings: touchingC),

    // Services
    service("KeelsonHealth"),
    service("KeelsonReflection"),
    service(
      "KeelsonConfiguration",
      ["KeelsonCrypto", "KeelsonAuditTrail", "KeelsonConfigurationRules"]),
    service("KeelsonFlags", ["KeelsonFlagRules"]),
    service("KeelsonEvents"),
    service("KeelsonAudit", ["KeelsonCrypto", "KeelsonAuditTrail"]),
    service("KeelsonJobs", ["KeelsonJobRules", "KeelsonAuditTrail"]),
    service("KeelsonCache", ["KeelsonCacheRules", "KeelsonAuditTrail", "KeelsonCrypto"]),

    // The client library, the server and the one binary
    library(
      "KeelsonClient",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonFlagRules",
        "KeelsonConfigurationRules", "KeelsonCacheRules",
      ]),
    library(
      "KeelsonWorker",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonConfigurationRules", "KeelsonHTTP",
        "KeelsonClient", "CLinuxProcess",
      ],
      settings: touchingC),
    library(
      "KeelsonServer",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonStore", "KeelsonSQLite",
        "KeelsonCrypto", "KeelsonAuditTrail", "KeelsonConfigurationRules", "KeelsonHTTP",
        "KeelsonSecrets", "KeelsonPostgres", "KeelsonHealth", "KeelsonReflection", "KeelsonFlags",
        "KeelsonEvents",
        "KeelsonAudit", "KeelsonConfiguration", "KeelsonJobs", "KeelsonCacheRules", "KeelsonCache",
        "KeelsonRedis",
      ]),
    .executableTarget(
      name: "keelson",
      dependencies: [
        "KeelsonCore", "KeelsonCrypto", "KeelsonAPI", "KeelsonTransport", "KeelsonAuditTrail",
        "KeelsonConfigurationRules",
        "KeelsonServer", "KeelsonClient", "KeelsonWorker",
      ],
      swiftSettings: common),

    // The generator
    .target(
      name: "KeelsonCodegen", path: "codegen/Sources/KeelsonCodegen", swiftSettings: common),
    .executableTarget(
      name: "keelson-codegen", dependencies: ["KeelsonCodegen"],
      path: "codegen/Sources/keelson-codegen", swiftSettings: common),

    // Benchmarks
    .target(name: "CAllocationCount", path: "Benchmarks/CAllocationCount"),
    .executableTarget(
      name: "client-calls-benchmark", dependencies: ["KeelsonCore", "KeelsonTransport"],
      path: "Benchmarks/ClientCalls", swiftSettings: common),
    .executableTarget(
      name: "flag-rules-benchmark",
      dependencies: ["KeelsonCore", "KeelsonFlagRules", "CAllocationCount"],
      path: "Benchmarks/FlagRules", swiftSettings: common),

    // Tests
    .target(
      name: "KeelsonTestKit",
      dependencies: [
        "KeelsonCore", "KeelsonTransport", "KeelsonAuditTrail", "KeelsonStore", "KeelsonSQLite",
        "KeelsonPostgres", "KeelsonCacheRules", "COpenSSL",
      ],
      path: "Tests/KeelsonTestKit", swiftSettings: common),
    .target(
      name: "KeelsonTestProtoC", dependencies: ["KeelsonProtoC", "CProtobufC"],
      path: "Tests/KeelsonTestProtoC"),
    .target(
      name: "KeelsonTestMessages",
      dependencies: [
        "KeelsonCore", "KeelsonAPI", "KeelsonProtoC", "KeelsonTestProtoC", "CProtobufC",
      ],
      path: "Tests/KeelsonTestMessages", swiftSettings: touchingC),
    .executableTarget(
      name: "InteropServer",
      dependencies: [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonHealth", "KeelsonTestMessages",
      ],
      path: "Tests/InteropServer", swiftSettings: common),
    .executableTarget(
      name: "InteropClient",
      dependencies: ["KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonTestMessages"],
      path: "Tests/InteropClient", swiftSettings: common),
    tests("KeelsonCoreTests", ["KeelsonCore"]),
    tests("KeelsonCryptoTests", ["KeelsonCrypto"]),
    tests("KeelsonAuditTrailTests", ["KeelsonCore", "KeelsonCrypto", "KeelsonAuditTrail"]),
    tests("KeelsonCodegenTests", ["KeelsonCodegen"]),
    tests("KeelsonAPITests", ["KeelsonCore", "KeelsonAPI", "KeelsonTestMessages"]),
    tests("KeelsonTransportTests", ["KeelsonCore", "KeelsonTransport", "COpenSSL"]),
    .executableTarget(
      name: "StoreCrashWriter",
      dependencies: [
        "KeelsonCore", "KeelsonTransport", "KeelsonAuditTrail", "KeelsonStore", "KeelsonSQLite",
        "KeelsonPostgres",
      ],
      path: "Tests/StoreCrashWriter", swiftSettings: touchingC),
    tests(
      "KeelsonStoreTests",
      [
        "KeelsonCore", "KeelsonTransport", "KeelsonStore", "KeelsonSQLite", "KeelsonPostgres",
        "StoreCrashWriter",
      ]),
    tests(
      "KeelsonPostgresTests",
      [
        "KeelsonCore", "KeelsonTransport", "KeelsonAuditTrail", "KeelsonStore", "KeelsonPostgres",
      ]),
    tests("KeelsonFlagRulesTests", ["KeelsonCore", "KeelsonFlagRules"]),
    tests("KeelsonConfigurationRulesTests", ["KeelsonCore", "KeelsonConfigurationRules"]),
    tests(
      "KeelsonJobsTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonJobRules", "KeelsonJobs",
      ]),
    tests("KeelsonJobRulesTests", ["KeelsonCore", "KeelsonJobRules"]),
    tests("KeelsonCacheRulesTests", ["KeelsonCore", "KeelsonCacheRules"]),
    tests(
      "KeelsonCacheTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonCacheRules", "KeelsonCache",
      ]),
    tests(
      "KeelsonRedisTests",
      ["KeelsonCore", "KeelsonTransport", "KeelsonCacheRules", "KeelsonRedis"]),
    tests("KeelsonHTTPTests", ["KeelsonCore", "KeelsonTransport", "KeelsonHTTP"]),
    tests(
      "KeelsonSecretsTests",
      ["KeelsonCore", "KeelsonTransport", "KeelsonCrypto", "KeelsonHTTP", "KeelsonSecrets"]),
    tests(
      "KeelsonHealthTests", ["KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonHealth"]),
    tests(
      "KeelsonReflectionTests",
      ["KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonReflection"]),
    tests(
      "KeelsonFlagsTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonSQLite", "KeelsonFlagRules",
        "KeelsonTransport",
        "KeelsonFlags",
      ]),
    tests(
      "KeelsonEventsTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonTransport", "KeelsonEvents",
      ]),
    tests(
      "KeelsonConfigurationTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonCrypto", "KeelsonConfigurationRules",
        "KeelsonTransport", "KeelsonConfiguration",
      ]),
    tests(
      "KeelsonClientTests",
      ["KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonCacheRules", "KeelsonClient"]),
    .executableTarget(
      name: "CachePeer", dependencies: ["KeelsonClient"], path: "Tests/CachePeer",
      swiftSettings: common),
    tests("KeelsonCommandTests", ["keelson", "KeelsonCore", "KeelsonAPI"]),
    tests(
      "KeelsonWorkerTests",
      [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonHTTP", "KeelsonClient",
        "KeelsonWorker",
      ]),
    tests(
      "KeelsonServerTests",
      [
        "KeelsonCore", "KeelsonTransport", "KeelsonStore", "KeelsonSQLite", "KeelsonCrypto",
        "KeelsonConfigurationRules", "KeelsonConfiguration", "KeelsonSecrets", "KeelsonCache",
        "KeelsonServer",
      ]),
    tests(
      "KeelsonAuditTests",
      [
        "KeelsonCore", "KeelsonCrypto", "KeelsonAPI", "KeelsonTransport", "KeelsonAuditTrail",
        "KeelsonStore", "KeelsonSQLite", "KeelsonPostgres", "KeelsonAudit",
      ]),
    // What dev/fuzz throws bytes at. The tests replay the inputs that were kept.
    .target(
      name: "KeelsonFuzzing",
      dependencies: [
        "KeelsonCore", "KeelsonAPI", "KeelsonTransport", "KeelsonFlagRules", "KeelsonTestKit",
        "KeelsonTestMessages",
      ],
      path: "Fuzz/KeelsonFuzzing", swiftSettings: touchingC),
    tests("KeelsonFuzzingTests", ["KeelsonFuzzing"]),
    tests("TidyTests", []),

    // Benchmarks
    .executableTarget(
      name: "StoreBenchmark",
      dependencies: [
        "KeelsonCore", "KeelsonTransport", "KeelsonStore", "KeelsonSQLite", "KeelsonPostgres",
      ],
      path: "Benchmarks/Store", swiftSettings: common),
    .executableTarget(
      name: "JobsBenchmark", dependencies: ["KeelsonClient"],
      path: "Benchmarks/Jobs", swiftSettings: common),
    .executableTarget(
      name: "cache-benchmark", dependencies: ["KeelsonCore", "KeelsonCacheRules", "KeelsonCache"],
      path: "Benchmarks/Cache", swiftSettings: common),
  ]
)

// The fuzzer has its `main` from libFuzzer, which comes with --sanitize=fuzzer: only dev/fuzz
// builds it.
if Context.environment["KEELSON_FUZZ"] != nil {
  package.targets += [
    .executableTarget(
      name: "keelson-fuzz", dependencies: ["KeelsonFuzzing"],
      path: "Fuzz/keelson-fuzz", swiftSettings: touchingC)
  ]
}
