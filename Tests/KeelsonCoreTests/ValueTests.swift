import KeelsonCore
import Testing

@Suite struct ValueTests {
  @Test(arguments: [
    (0, "1970-01-01T00:00:00.000000Z"),
    (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
    (-1, "1969-12-31T23:59:59.999999Z"),
    (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
  ])
  func timesPrintAsRFC3339(microseconds: Int64, text: String) {
    #expect(UnixTime(microseconds: microseconds).description == text)
  }

  @Test func identifiersHaveTheirFormAndRiseWithTime() throws {
    let times = (0..<1_000).map { UnixTime(microseconds: 1_700_000_000_000_000 + $0 * 7) }
    let ids = times.map { UUIDv7.make(at: $0) }
    #expect(ids == ids.sorted())
    #expect(Set(ids).count == ids.count)
    for id in ids {
      let parts = id.split(separator: "-")
      #expect(parts.map(\.count) == [8, 4, 4, 4, 12])
      #expect(parts[2].first == "7")
      #expect("89ab".contains(try #require(parts[3].first)))
    }
    // 1,700,000,000,000 ms in hexadecimal.
    #expect(ids[0].hasPrefix("018bcfe5-6800"))
  }

  @Test func metadataKeepsOrderAndIgnoresCase() {
    var metadata: Metadata = ["X-One": "1", "x-two": "2"]
    metadata.add("x-one", "3")
    metadata.add("x-data-bin", binary: [1, 2])
    #expect(metadata["x-one"] == "1")
    #expect(metadata.entries.map(\.name) == ["x-one", "x-two", "x-one", "x-data-bin"])
    #expect(metadata[binary: "x-data-bin"] == [1, 2])
    #expect(metadata["x-data-bin"] == nil)
    metadata.remove("X-ONE")
    #expect(metadata["x-one"] == nil)
  }

  @Test func statusCodesHaveTheirNames() {
    #expect("\(RPCError.Code.notFound)" == "NOT_FOUND")
    #expect("\(RPCError.Code(rawValue: 99))" == "CODE_99")
    #expect("\(RPCError(.aborted, "Try again."))" == "ABORTED: Try again.")
  }

  @Test func jsonReadsAndPrints() throws {
    let text = #"{"a":[1,2.5,true,null,"x"],"b":{"c":-3}}"#
    #expect(try JSONValue(parsing: text).text == text)
    #expect(try JSONValue(parsing: "true") == .bool(true))
    #expect(try JSONValue(parsing: "1") == .number(1))
  }

  @Test(arguments: [
    (#""\u00e9\ud83d\ude00\n\/""#, JSONValue.string("é😀\n/")),
    ("-0.5e-3", .number(-0.0005)), ("[ ]", .array([])), (" {\t} ", .object([:])),
    (#"{"a":1,"a":2}"#, .object(["a": 2])), ("1e20", .number(1e20)),
  ])
  func jsonReads(text: String, value: JSONValue) throws {
    #expect(try JSONValue(parsing: text) == value)
    #expect(try JSONValue(parsing: value.text) == value)
  }

  @Test func jsonErrorsSayWhere() {
    let error = #expect(throws: JSONError.self) { try JSONValue(parsing: "{\n  \"a\": x}") }
    #expect(
      error?.message == "not valid JSON: a value cannot begin with 'x' (line 2, column 8)")
  }

  @Test(arguments: [
    "", "{", "[1,]", "nul", "{\"a\":}", "1 2", "01", "1.", "-", "+1", "1e", "'a'", "\"a", "{a:1}",
    "{\"a\":1,}", "\"\\x\"", "\"\\ud800\"", "\"a\nb\"", "1e999", "[1}", "NaN",
    String(repeating: "[", count: 600),
  ])
  func jsonRefusesWhatIsNone(text: String) {
    #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
  }

  @Test func logLinesAreJSONObjects() throws {
    let lines = Watchable<[String]>([])
    let logger = Logger(component: "test", minimum: .info, humanReadable: false) { line in
      lines.update { $0.append(line) }
    }
    logger.log(.debug, "not this")
    logger.log(.warning, "a \"quoted\" word", ["key": "value"], correlationID: "c-1")
    #expect(lines.value.count == 1)
    guard case .object(let line) = try JSONValue(parsing: lines.value[0]) else {
      Issue.record("no object")
      return
    }
    #expect(line["level"] == "warning")
    #expect(line["message"] == "a \"quoted\" word")
    #expect(line["correlation_id"] == "c-1")
    #expect(line["fields"] == ["key": "value"])
  }
}
