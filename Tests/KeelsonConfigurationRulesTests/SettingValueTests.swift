import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonConfigurationRules

@Suite struct SettingValueTests {
  @Test(arguments: [
    ("250ms", Duration.milliseconds(250)), ("1.5s", .milliseconds(1_500)), ("30s", .seconds(30)),
    ("1h30m", .seconds(5_400)), ("2d", .seconds(172_800)), ("-5m", .seconds(-300)),
    ("0", .zero), ("0s", .zero), ("00:05:00", .seconds(300)),
    ("1.02:30:00.5", .milliseconds((26 * 3_600 + 1_800) * 1_000 + 500)),
    ("100us", .microseconds(100)), ("7ns", .nanoseconds(7)),
    ("1.0000000010s", .nanoseconds(1_000_000_001)),
  ])
  func durationsAreRead(text: String, duration: Duration) {
    #expect(DurationText.duration(text) == duration)
  }

  @Test(arguments: [
    "", "5", "s", "1m1h", "1s1s", "1.2.3s", "1 s", "5x", "24:00:00", "1:2", "00:60:00", "--1s",
    "999999d999999d", "9999999999999999999s", "300000d", "0.0000000001s", "1.s", ".5s", "１s",
  ])
  func otherTextsAreNoDurations(text: String) {
    #expect(DurationText.duration(text) == nil)
  }

  @Test func aDurationsTextReadsBack() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<2_000 {
      let exponent = Int.random(in: 0...16, using: &random)
      var scale: Int64 = 1
      for _ in 0..<exponent { scale *= 10 }
      let duration = Duration.nanoseconds(
        Int64.random(in: -900...900, using: &random) * scale)
      #expect(DurationText.duration(DurationText.text(duration)) == duration)
    }
  }

  @Test(arguments: [
    ("500", Int64(500)), ("64KiB", 65_536), ("4MiB", 4 << 20), ("1GiB", 1 << 30), ("3KB", 3_000),
    ("12B", 12), ("0", 0),
  ])
  func sizesAreRead(text: String, bytes: Int64) {
    #expect(SizeText.bytes(text) == bytes)
    #expect(SizeText.bytes(SizeText.text(bytes)) == bytes)
  }

  @Test(arguments: ["", "KiB", "1.5MiB", "-1", "9999999TiB", "4 MiB", "4mib"])
  func otherTextsAreNoSizes(text: String) {
    #expect(SizeText.bytes(text) == nil)
  }

  @Test func filesMustHaveTheTypeAndTextsMaySayIt() {
    #expect(SettingValue.string("8080").converted(to: .integer, readsText: false) == nil)
    #expect(
      SettingValue.string(" 8080 ").converted(to: .integer, readsText: true) == .integer(8_080))
    #expect(SettingValue.string("Yes").converted(to: .boolean, readsText: true) == .boolean(true))
    #expect(SettingValue.integer(1).converted(to: .boolean, readsText: true) == nil)
    #expect(SettingValue.integer(3).converted(to: .number, readsText: false) == .number(3))
    #expect(SettingValue.number(3).converted(to: .integer, readsText: false) == .integer(3))
    #expect(SettingValue.number(3.5).converted(to: .integer, readsText: false) == nil)
    #expect(
      SettingValue.string("30s").converted(to: .duration, readsText: false)
        == .duration(.seconds(30)))
    #expect(
      SettingValue.string("64KiB").converted(to: .size, readsText: false) == .integer(65_536))
    #expect(SettingValue.integer(-1).converted(to: .size, readsText: false) == nil)
    #expect(
      SettingValue.string("a, b").converted(to: .list, readsText: true) == .list(["a", "b"]))
    #expect(
      SettingValue.string("[1,2]").converted(to: .list, readsText: true) == .list([1, 2]))
    #expect(
      SettingValue.string("{\"a\":1}").converted(to: .object, readsText: true)
        == .object(["a": 1]))
    #expect(SettingValue.boolean(true).converted(to: .string, readsText: true) == nil)
  }

  @Test func aTextIsGuessedOnlyWhereItIsPlain() {
    #expect(SettingValue(guessing: "true") == .boolean(true))
    #expect(SettingValue(guessing: "42") == .integer(42))
    #expect(SettingValue(guessing: "007") == .string("007"))
    #expect(SettingValue(guessing: "1.5") == .number(1.5))
    #expect(SettingValue(guessing: "[1]") == .list([1]))
    #expect(SettingValue(guessing: "null") == .string("null"))
    #expect(SettingValue(guessing: "[broken") == .string("[broken"))
  }

  @Test(
    arguments: [
      (
        SettingFormat.uri, ["https://a.example/x?y=1", "mailto:a@b", "postgres://h:5432/db"],
        ["", "a.example", "://x", "http:", "1http://x", "http://a b"]
      ),
      (
        .host, ["localhost", "a.b-c.example", "10.0.0.1", "::1"], ["", "a..b", "-a", "a b", "a:80"]
      ),
      (.hostAndPort, ["db:5432", "[::1]:80"], ["db", "db:0", "db:99999", "::1:80", ":80"]),
      (.email, ["a@b.example", "a.b+c@d"], ["a", "@b", "a@", "a@@b", ".a@b", "a..b@c"]),
      (.date, ["2026-11-25", "2024-02-29"], ["2026-02-29", "2026-13-01", "26-1-1", "2026-11-00"]),
      (
        .dateTime, ["2026-11-25T10:00:00Z", "2026-11-25T10:00:00.123+02:00"],
        ["2026-11-25", "2026-11-25T10:00Z", "2026-11-25T10:00:00", "2026-11-25T25:00:00Z"]
      ),
      (
        .uuid, ["0190d0a4-7c3e-7a10-8000-0123456789ab"],
        ["0190d0a4", "g190d0a4-7c3e-7a10-8000-0123456789ab"]
      ),
      (
        .ipAddress, ["1.2.3.4", "::", "fe80::1", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"],
        ["1.2.3", "01.2.3.4", "1:2", "1::2::3", "1:2:3:4:5:6:7:8:9", "256.1.1.1", ":::"]
      ),
      (.json, ["{}", "1", "[null]"], ["", "{a:1}"]),
      (.base64, ["", "YQ==", "YWI="], ["YQ=", "Y!==", "===="]),
    ] as [(SettingFormat, [String], [String])])
  func formatsMatch(format: SettingFormat, good: [String], bad: [String]) {
    for text in good { #expect(format.matches(text), "\(text) is \(format)") }
    for text in bad { #expect(!format.matches(text), "\(text) is no \(format)") }
  }
}
