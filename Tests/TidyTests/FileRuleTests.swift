import Testing

/// Each rule finds what it is there for, and nothing else.
@Suite struct FileRuleTests {
  /// How many violations the rule finds in a file.
  func count(_ rule: FileRule, _ path: String, _ text: String) -> Int {
    let file = SourceFile(path: path, text: text)
    return rule.applies(file) ? rule.check(file).count : 0
  }

  @Test func length() {
    let long = String(repeating: "let a = 1\n", count: 501)
    #expect(count(.length, "Sources/A/B.swift", long) == 1)
    #expect(count(.length, "dev/long.sh", long) == 1)
    #expect(count(.length, "Sources/A/B.swift", String(long.dropFirst(10))) == 0)
    #expect(count(.length, "Sources/KeelsonAPI/Generated/B.swift", long) == 0)
  }

  @Test func columns() {
    let wide = String(repeating: "x", count: 101)
    #expect(count(.columns, "Sources/A/B.swift", wide) == 1)
    #expect(count(.columns, "Sources/A/B.swift", "// " + wide) == 1)
    #expect(count(.columns, "Benchmarks/peers/peer.c", wide) == 1)
    #expect(count(.columns, "Sources/A/B.swift", String(wide.dropFirst())) == 0)
  }

  @Test(arguments: [
    "// TODO: later", "let a = 1  // FIXME", "/* XXX */", "/// Only the first, for now.", "// HACK",
  ])
  func postponedWork(_ line: String) {
    #expect(count(.noPostponedWork, "Sources/A/B.swift", line) == 1)
  }

  @Test(arguments: ["let a = \"TODO\"", "// a method and so on", "let todo = 1"])
  func noPostponedWork(_ line: String) {
    #expect(count(.noPostponedWork, "Sources/A/B.swift", line) == 0)
  }

  @Test func postponedWorkInOtherLanguages() {
    #expect(count(.noPostponedWork, "dev/a.sh", "ls  # TODO: more") == 1)
    #expect(count(.noPostponedWork, "a.py", "# for now\n") == 1)
    #expect(count(.noPostponedWork, "proto/a.proto", "// FIXME") == 1)
  }

  @Test(arguments: [
    "Sources/Utils/A.swift", "Sources/A/Helpers.swift", "Sources/A/FlagManager.swift",
    "Sources/A/common/B.swift", "dev/misc.sh", "Sources/A/StringUtils.swift",
  ])
  func vagueNames(_ path: String) {
    #expect(count(.names, path, "") == 1)
  }

  @Test func vagueTypes() {
    #expect(count(.names, "Sources/A/B.swift", "final class ConnectionManager {}") == 1)
    #expect(count(.names, "Sources/A/B.swift", "let manager = FileManager.default") == 0)
    #expect(count(.names, "Sources/A/B.swift", "// struct FooHelper") == 0)
  }

  @Test func mainType() {
    #expect(count(.mainType, "Sources/A/B.swift", "struct C {}") == 1)
    #expect(count(.mainType, "Sources/A/B.swift", "// struct B\nstruct C {}") == 1)
    #expect(count(.mainType, "Sources/A/B.swift", "package final class B: C {}") == 0)
    #expect(count(.mainType, "Sources/A/B+Words.swift", "extension A.B {}") == 0)
    #expect(count(.mainType, "Sources/A/main.swift", "run()") == 0)
    #expect(count(.mainType, "Sources/A/Empty.swift", "// nothing yet") == 0)
  }

  @Test func guardedSendable() {
    let path = "Sources/A/B.swift"
    let bare = "final class B: @unchecked Sendable {\n  var a = 1\n}"
    #expect(count(.guardedSendable, path, bare) == 1)
    #expect(count(.guardedSendable, path, "// A box.\n" + bare) == 1)
    #expect(count(.guardedSendable, path, "// Guarded by `lock`.\n\n" + bare) == 1)
    #expect(count(.guardedSendable, path, "// Guarded by `lock`.\n" + bare) == 0)
    #expect(count(.guardedSendable, path, "/// B.\n/// Lives on one loop.\n@frozen\n" + bare) == 0)
    let after = "extension B: @unchecked Sendable {  // immutable after init\n}"
    #expect(count(.guardedSendable, path, after) == 0)
    #expect(count(.guardedSendable, path, "let a = \"@unchecked Sendable\"") == 0)
  }

  @Test func printing() {
    #expect(count(.noPrinting, "Sources/KeelsonCore/A.swift", "  print(\"a\")") == 1)
    #expect(count(.noPrinting, "Tests/ATests/A.swift", "debugPrint(a)") == 1)
    #expect(count(.noPrinting, "Sources/keelson/A.swift", "print(\"a\")") == 0)
    #expect(count(.noPrinting, "Sources/KeelsonCore/A.swift", "printer.print(\"a\")") == 0)
    #expect(count(.noPrinting, "Sources/KeelsonCore/A.swift", "let a = \"print(1)\"") == 0)
    #expect(count(.noPrinting, "Sources/KeelsonCore/A.swift", "// print(1)") == 0)
  }

  @Test(arguments: [
    "let a = try! b()", "fatalError(\"no\")", "let a = b as! C", "preconditionFailure()",
  ])
  func traps(_ line: String) {
    let path = "Sources/A/B.swift"
    #expect(count(.explainedTraps, path, "let z = 1\n\n" + line) == 1)
    #expect(count(.explainedTraps, path, "// Checked above.\n\n" + line) == 1)
    #expect(count(.explainedTraps, path, "// Checked above.\n" + line) == 0)
    #expect(count(.explainedTraps, path, line + "  // checked above") == 0)
    #expect(count(.explainedTraps, "Tests/ATests/B.swift", line) == 0)
  }

  @Test(arguments: [
    "try await Task.sleep(for: .seconds(1))", "  sleep(1)", "usleep(5)", "_ = nanosleep(&a, nil)",
    "Thread.sleep(forTimeInterval: 1)", "try await ContinuousClock().sleep(for: .seconds(1))",
  ])
  func sleeps(_ line: String) {
    #expect(count(.noSleepsInTests, "Tests/ATests/B.swift", line) == 1)
    #expect(count(.noSleepsInTests, "Sources/A/B.swift", line) == 0)
  }

  @Test func sleepsInOtherLanguages() {
    #expect(count(.noSleepsInTests, "Tests/A/test_a.py", "    time.sleep(1)") == 1)
    #expect(count(.noSleepsInTests, "Tests/A/test_a.py", "# time.sleep(1)") == 0)
    #expect(count(.noSleepsInTests, "Tests/A/a.sh", "sleep 1") == 1)
    #expect(count(.noSleepsInTests, "Tests/A/B.swift", "func sleep(until: Int) {") == 0)
    #expect(count(.noSleepsInTests, "Tests/A/B.swift", "fakeClock.sleep(until: 4)") == 0)
  }

  @Test func protoComments() {
    let proto = """
      // A service.
      service S {
        // Does.
        rpc Do(DoRequest) returns (DoResponse);
        rpc Undo(DoRequest) returns (DoResponse);
      }
      message DoRequest {
        string key = 1;
        // How much.
        int32 amount = 2;
        int32 speed = 3;
      }
      message DoResponse {
        int32 amount = 1;
        Thing thing = 2;
        oneof which {
          int32 left = 3;
        }
      }
      message Thing {}
      enum Bare {
        BARE_UNSPECIFIED = 0;
        BARE_A = 1;
      }
      enum Said {
        SAID_UNSPECIFIED = 0;
        // A.
        SAID_A = 1;
      }
      """
    let file = SourceFile(path: "proto/a.proto", text: proto)
    let found = FileRule.protoComments.check(file).map(\.message)
    #expect(
      found == [
        "rpc Undo has no comment", "field speed has no comment", "field left has no comment",
        "message Thing has no comment", "enum Bare has no comment", "value BARE_A has no comment",
        "enum Said has no comment",
      ])
  }

  @Test func links() {
    let text = """
      [a](there.md) [b](../gone.md#part) [c](https://example.org/x) [d](#below)
      ```
      [e](example.md)
      ```
      """
    let file = SourceFile(path: "docs/a.md", text: text)
    let found = FileRule.deadLinks(of: file) { $0 == "docs/there.md" }
    #expect(found.map(\.description) == ["docs/a.md:1: no such file: ../gone.md"])
  }

  @Test func decisions() {
    #expect(Decisions.violations(names: []).isEmpty)
    #expect(Decisions.violations(names: ["0002-b.md", "0001-a-c.md"]).isEmpty)
    #expect(Decisions.violations(names: ["0001-a.md", "0003-b.md"]).count == 1)
    #expect(Decisions.violations(names: ["0001-a.md", "0001-b.md"]).count == 1)
    #expect(Decisions.violations(names: ["0001-A b.md"]).count == 1)
  }
}
