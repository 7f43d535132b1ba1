import Testing

@Suite struct EventNamesTests {
  @Test func whatIsPublishedIsInTheCatalogue() {
    let violations = EventNames.violations(of: SourceTree.current.files)
    #expect(violations.isEmpty, "\(violations.report)")
  }

  @Test func whatIsInTheCatalogueIsPublished() {
    #expect(EventNames.unpublished(in: SourceTree.current.files) == [])
  }

  @Test func theCatalogueHasWhatIsSpecified() {
    #expect(EventNames.missing(in: SourceTree.current.files) == [])
  }

  @Test func inventedNamesAreFound() {
    let catalogue = SourceFile(path: EventNames.catalogue, text: #"let a = "keelson.a.Known""#)
    let service = SourceFile(
      path: "Sources/KeelsonA/A.swift",
      text: #"""
        let known = "keelson.a.Known"
        let invented = "keelson.a.Invented"
        let joined = "keelson.a.\(name)"
        let prefix = "keelson.a."
        """#)
    let found = EventNames.violations(of: [catalogue, service])
    #expect(found.map(\.line) == [2, 3])
    let other = SourceFile(path: "Sources/KeelsonA/B.swift", text: "let b = 1")
    #expect(EventNames.unpublished(in: [catalogue, other]) == ["keelson.a.Known"])
    #expect(EventNames.unpublished(in: [catalogue, service]) == [])
    #expect(EventNames.unpublished(in: [catalogue]) == [])
  }
}
