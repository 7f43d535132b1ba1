import Testing

/// The repository keeps its rules.
@Suite struct TidyTests {
  let tree = SourceTree.current

  var manifest: Manifest {
    get throws {
      try Manifest(#require(tree.files.first { $0.path == "Package.swift" }).text)
    }
  }

  @Test func findsTheRepository() throws {
    #expect(tree.files.contains { $0.path == "Package.swift" })
    #expect(tree.files.filter { $0.kind == .swift && $0.topFolder == "Sources" }.count >= 10)
    #expect(tree.files.contains { $0.kind == .proto })
    #expect(tree.files.contains { $0.kind == .shell })
    let names = try manifest.targets.map(\.name)
    #expect(names.contains("KeelsonCore") && names.contains("TidyTests"))
  }

  @Test(arguments: FileRule.all) func everyFileKeeps(_ rule: FileRule) {
    let violations = tree.files.filter(rule.applies).flatMap(rule.check)
    #expect(violations.isEmpty, "\(violations.report)")
  }

  @Test func arrowsRunOneWay() throws {
    let violations = try House.violations(of: manifest)
    #expect(violations.isEmpty, "\(violations.report)")
  }

  @Test func importsFollowTheArrows() throws {
    let violations = try House.violations(of: tree.files, in: manifest)
    #expect(violations.isEmpty, "\(violations.report)")
  }

  @Test func everyFolderIsATarget() throws {
    let violations = try House.strays(of: tree.files, in: manifest)
    #expect(violations.isEmpty, "\(violations.report)")
  }

  @Test func decisionsAreNumbered() {
    let prefix = "docs/decisions/"
    let names = tree.files.map(\.path).filter { $0.hasPrefix(prefix) }
      .map { String($0.dropFirst(prefix.count)) }
    let violations = Decisions.violations(names: names)
    #expect(violations.isEmpty, "\(violations.report)")
  }
}
