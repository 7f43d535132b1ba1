import KeelsonCore
import Testing

@testable import KeelsonClient

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

  @Test func aWrongTypeIsToldFromNoValue() throws {
    let settings = snapshot(["Text": .string("abc"), "Size": .string("2KiB"), "List": .list([1])])
    #expect(try settings.value("Missing", as: Int.self) == nil)
    #expect(try settings.value("Size", as: Int.self) == 2_048)
    #expect(try settings.value("List") == ["1"])
    let error = #expect(throws: RPCError.self) { try settings.value("Text", as: Int.self) }
    #expect(error?.code == .invalidArgument)
    #expect(
      error?.message
        == "The setting 'Text' is a string that cannot be read as a whole number or a size.")
    #expect(throws: RPCError.self) { try settings.value("Text", as: Bool.self) }
    #expect(throws: RPCError.self) { try settings.value("Text", as: Double.self) }
    #expect(throws: RPCError.self) { try settings.value("Text", as: Duration.self) }
  }

  @Test func keysInAnyCaseAreAlwaysTheSameOnes() {
    var settings = snapshot(["b:Limit": .integer(1), "B:limit": .integer(2), "Other": .integer(3)])
    #expect(settings.key(matching: "b:Limit") == "b:Limit")
    #expect(settings.key(matching: "b:limit") == "B:limit")
    #expect(settings.key(matching: "OTHER") == "Other")
    #expect(settings.key(matching: "missing") == nil)
    settings.remove("B:limit")
    #expect(settings.key(matching: "b:limit") == "b:Limit")
    settings.set(.init(value: .integer(4), layer: .api), at: "A")
    #expect(settings.key(matching: "a") == "A")
    settings.remove("b:Limit")
    #expect(settings.key(matching: "b:limit") == nil)
  }

  @Test func largeWholeNumbersAreDecodedToTheLastDigit() throws {
    struct Numbers: Decodable, Equatable {
      var large: Int64
      var small: Int
    }
    let settings = snapshot([
      "A:large": .integer(9_007_199_254_740_993), "A:small": .integer(-1),
    ])
    #expect(
      try settings.decode(Numbers.self, at: "A")
        == Numbers(large: 9_007_199_254_740_993, small: -1))
    #expect(try settings.decode(Int64.self, at: "A:large") == 9_007_199_254_740_993)
  }
}
