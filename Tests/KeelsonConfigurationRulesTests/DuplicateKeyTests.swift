import KeelsonCore
import Testing

@testable import KeelsonConfigurationRules

/// One layer that gives a key in two ways.
@Suite struct DuplicateKeyTests {
  private func schema() throws -> ConfigurationSchema {
    ConfigurationSchema([try rule("Hosts", .list)], isClosed: false)
  }

  private func violations(_ layers: [LayerValues]) throws -> [String] {
    EffectiveConfiguration.merging(layers, schema: try schema()).violations.map {
      "\($0.key) \($0.rule.rawValue): \($0.message)"
    }
  }

  @Test func aDocumentIsToldBothPlaces() throws {
    let layer = try LayerValues(
      .file, document: ["A:B": 1, "A": ["B": 2, "C": 3], "D": ["E": .null], "D:E": 4],
      source: "appsettings.json", schema: schema())
    #expect(
      try violations([layer]) == [
        #"A:B duplicate: is given twice, by "A" > "B" and by "A:B"; keep one of them"#
      ])
    // What is given twice does not count, so that nobody has to guess which it is.
    let configuration = EffectiveConfiguration.merging([layer], schema: try schema()).configuration
    #expect(configuration["A:B"] == nil)
    #expect(configuration["D:E"] == .integer(4))
  }

  @Test func variablesAreToldByName() throws {
    let layer = LayerValues(
      environment: [
        "SHOP__Mode": "a", "SHOP__MODE": "b", "SHOP__Hosts__0": "x", "SHOP__Hosts__1": "y",
        "SHOP__Hosts__01": "z",
      ], prefix: "SHOP__", schema: try schema(),
      lower: [LayerValues(.file, ["Mode": .init(.string("c"))])])
    #expect(
      try violations([layer]) == [
        "Hosts duplicate: is given twice, by SHOP__Hosts__01 and by SHOP__Hosts__1; "
          + "keep one of them",
        "Mode duplicate: is given twice, by SHOP__MODE and by SHOP__Mode; keep one of them",
      ])
  }

  @Test func theElementsOfASecretAreToldByKey() throws {
    let layer = LayerValues(
      secrets: ["Hosts:1": "hidden-one", "Hosts:001": "hidden-two"], source: "vault",
      schema: try schema())
    #expect(
      try violations([layer]) == [
        "Hosts duplicate: is given twice, by Hosts:001 and by Hosts:1; keep one of them"
      ])
  }

  @Test func twoLayersMayGiveOneKey() throws {
    let layers = [
      try LayerValues(.file, document: ["A:B": 1], source: "one", schema: schema()),
      try LayerValues(.environmentFile, document: ["A": ["B": 2]], source: "two", schema: schema()),
    ]
    #expect(try violations(layers) == [])
  }
}
