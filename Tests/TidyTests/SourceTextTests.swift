import Testing

/// Code, comments and strings are told apart.
@Suite struct SourceTextTests {
  func code(_ text: String) -> [String] { SourceText(text).lines.map(\.code) }
  func comments(_ text: String) -> [String] { SourceText(text).lines.map(\.comment) }

  @Test func comments() {
    #expect(code("a // b\nc /* d /* e */ f */ g") == ["a ", "c  g"])
    #expect(comments("a // b\nc /* d /* e */ f */ g") == [" b", " d  e  f "])
    #expect(code("/* a\nb */ c") == ["", " c"])
  }

  @Test func strings() {
    #expect(code(#"a("b // c", "d\"e") // f"#) == [#"a("", "") "#])
    #expect(code(##"a(#"b " c \"#) // d"##) == [#"a("") "#])
    #expect(code(#"a("\(b("c")) d") e"#) == [#"a("") e"#])
    #expect(code("let a = \"\"\"\n  b \" // c\n  \"\"\"\nd") == ["let a = \"\"", "", "", "d"])
  }

  @Test func keepsStringsInSource() {
    #expect(SourceText(#"a("b")  // c"#).lines.map(\.source) == [#"a("b")  "#])
  }

  @Test func countsLines() {
    #expect(SourceText("a\nb\n").lines.map(\.whole) == ["a", "b"])
    #expect(SourceText("a\n\nb").lines.map(\.whole) == ["a", "", "b"])
  }

  @Test func hashes() {
    let lines = SourceText("a # b\n${#c} d\n# e", language: .hashes).lines
    #expect(lines.map(\.code) == ["a ", "${#c} d", ""])
    #expect(lines.map(\.comment) == ["# b", "", "# e"])
  }
}
