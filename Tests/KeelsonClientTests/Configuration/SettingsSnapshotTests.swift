import KeelsonClient
import Testing

@Suite struct SettingsSnapshotTests {
  private func snapshot(_ values: [String: SettingValue]) -> SettingsSnapshot {
    SettingsSnapshot(settings: values.mapValues { .init(value: $0, layer: .api) }, revision: 1)
  }

  @Test func readsGiveTheTypeOrTheDefault() {
    let settings = snapshot([
      "Bool": .boolean(true), "BoolText": .string("false"), "Int": .integer(5),
      "Number": .number(0.5), "Text": .string("hi"), "Time": .duration(.seconds(3)),
      "TimeText": .string("2m"), "Size": .string("64KiB"), "List": .list(["a", 1]),
    ])
    #expect(settings.bool("Bool", default: false))
    #expect(!settings.bool("BoolText", default: true))
    #expect(settings.bool("Text", default: true))
    #expect(settings.integer("Int", default: 0) == 5)
    #expect(settings.integer("Size", default: 0) == 65_536)
    #expect(settings.integer("Missing", default: 7) == 7)
    #expect(settings.number("Number", default: 0) == 0.5)
    #expect(settings.number("Int", default: 0) == 5)
    #expect(settings.string("Text", default: "") == "hi")
    #expect(settings.string("Time", default: "") == "3s")
    #expect(settings.duration("Time", default: .zero) == .seconds(3))
    #expect(settings.duration("TimeText", default: .zero) == .seconds(120))
    #expect(settings.strings("List", default: []) == ["a", "1"])
  }

  @Test func sectionsAreDecodedAsTypes() throws {
    struct Database: Decodable, Equatable {
      var url: String
      var pool: Pool
      struct Pool: Decodable, Equatable { var size: Int }
    }
    let settings = snapshot([
      "Database:url": .string("postgres://a"), "Database:pool:size": .integer(5),
      "Other": .boolean(true), "Databases": .integer(1),
    ])
    #expect(
      try settings.decode(Database.self, at: "Database")
        == Database(url: "postgres://a", pool: .init(size: 5)))
    #expect(try settings.decode([String: Int].self, at: "Database:pool") == ["size": 5])
    #expect(try settings.decode(Bool.self, at: "Other") == true)
    #expect(try settings.decode(Bool.self, at: "Missing") == nil)
    #expect(throws: DecodingError.self) { try settings.decode(Bool.self, at: "Database") }
  }
}
