import Testing

/// The layering rules find an arrow that runs the wrong way.
@Suite struct HouseTests {
  let manifest = Manifest(
    SourceText(
      """
      func service(_ name: String, _ extra: [Target.Dependency] = []) -> Target {
        library(name, ["KeelsonCore", "KeelsonAPI", "KeelsonStore"] + extra)
      }
      let package = Package(
        name: "keelson",
        products: [.executable(name: "keelson", targets: ["keelson"])],
        targets: [
          .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3"),
          library("KeelsonCore", ["CSQLite"]),
          // library("KeelsonGone", ["KeelsonCore"]),
          library("KeelsonStore", ["KeelsonCore"], settings: touchingC),
          library("KeelsonFlagRules", ["KeelsonCore"]),
          service("KeelsonFlags", ["KeelsonFlagRules"]),
          service("KeelsonHealth", ["KeelsonFlags", "KeelsonFlagRules"]),
          library(
            "KeelsonServer",
            [
              "KeelsonCore", "KeelsonFlags",
            ]),
          library("KeelsonOther", ["KeelsonCore"]),
          .executableTarget(name: "keelson", dependencies: ["KeelsonServer"], path: "Sources/x"),
          .executableTarget(
            name: "it-benchmark", dependencies: ["KeelsonStore"], path: "Benchmarks/It"),
          tests("KeelsonStoreTests", ["KeelsonStore"]),
        ]
      )
      """))

  @Test func readsTheManifest() {
    let names = manifest.targets.map(\.name)
    #expect(names.count == 11)
    #expect(!names.contains("KeelsonGone"))
    #expect(
      manifest["KeelsonFlags"]?.dependencies
        == ["KeelsonCore", "KeelsonAPI", "KeelsonStore", "KeelsonFlagRules"])
    #expect(manifest["KeelsonServer"]?.dependencies == ["KeelsonCore", "KeelsonFlags"])
    #expect(manifest["CSQLite"]?.dependencies == [])
    #expect(manifest["keelson"]?.dependencies == ["KeelsonServer"])
    #expect(manifest["KeelsonStoreTests"]?.dependencies == ["KeelsonStore", "KeelsonTestKit"])
  }

  @Test func arrowsRunOneWay() {
    #expect(
      House.violations(of: manifest).map(\.message) == [
        "KeelsonCore must not depend on CSQLite",
        "KeelsonHealth must not depend on KeelsonFlagRules",
        "KeelsonHealth must not depend on KeelsonFlags",
        "KeelsonOther must not depend on KeelsonCore",
      ])
  }

  func violations(_ path: String, _ text: String) -> [String] {
    House.violations(of: [SourceFile(path: path, text: text)], in: manifest).map(\.message)
  }

  @Test(arguments: [
    "import CSQLite", "public import CSQLite", "@preconcurrency import CSQLite",
    "  @_exported public import struct CSQLite.A",
  ])
  func importsFollowTheArrows(_ statement: String) {
    #expect(
      violations("Sources/KeelsonStore/A.swift", "import KeelsonCore\n" + statement)
        == ["KeelsonStore does not depend on CSQLite in Package.swift"])
  }

  @Test func systemModules() {
    let core = "import CSQLite\nimport Glibc\nimport Synchronization\nimport Foundation"
    #expect(violations("Sources/KeelsonCore/A.swift", core) == [])
    #expect(
      violations("Sources/KeelsonCore/A.swift", core + "\nimport zlib")
        == ["KeelsonCore does not depend on zlib in Package.swift"])
    #expect(
      violations("Sources/KeelsonCore/A.swift", core + "\nimport Testing")
        == ["KeelsonCore does not depend on Testing in Package.swift"])
    #expect(violations("Tests/KeelsonStoreTests/A.swift", "import Testing") == [])
  }

  @Test func unusedArrows() {
    #expect(
      violations("Sources/KeelsonStore/A.swift", "// import KeelsonCore\nimport Foundation")
        == ["KeelsonStore depends on KeelsonCore but imports it nowhere"])
  }

  @Test func strayFolders() {
    let files = ["Sources/KeelsonStore/A.swift", "Sources/KeelsonLost/A.swift"]
      .map { SourceFile(path: $0, text: "") }
    #expect(House.strays(of: files, in: manifest).map(\.path) == ["KeelsonLost"])
  }
}
