import Foundation
import KeelsonCore
import KeelsonTransport
import Testing

@testable import KeelsonServer

@Suite struct ServerLimitsTests {
  @Test func namesAreWrittenAlikeAndStandOnce() {
    let names = ServerLimits.all.map(\.name)
    #expect(Set(names).count == names.count)
    for name in names {
      #expect(name.wholeMatch(of: /[a-z]+(-[a-z]+)*/) != nil, "\(name)")
    }
  }

  /// The table that admins read is the one that the server has.
  @Test func theDocumentHasEachLimit() throws {
    let repository = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(
      contentsOf: repository.appending(path: "docs/operations.md"), encoding: .utf8)
    let section = try #require(text.split(separator: "\n## Limits\n").last)
      .split(separator: "\n## ")[0]
    let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
    let expected = ServerLimits.all.map {
      "| `\($0.name)` | \($0.defaultText) | \($0.what) | \($0.beyond) |"
    }
    #expect(rows == expected)
  }

  @Test func theDocumentNamesWhatNeedsNoRestart() throws {
    let repository = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(
      contentsOf: repository.appending(path: "docs/operations.md"), encoding: .utf8)
    let paragraph = try #require(
      text.split(separator: "\nIn force as soon as ").last?.split(separator: "\n\n").first)
    let named = paragraph.matches(of: /`([a-z-]+)`/).map { String($0.output.1) }
    #expect(named.filter { $0 != "warning" } == ServerLimits.immediate)
    #expect(Set(ServerLimits.immediate).isSubset(of: ServerLimits.all.map(\.name)))
  }

  @Test func eachDefaultCanBeSet() throws {
    for limit in ServerLimits.all {
      var limits = ServerLimits()
      try limits.set("\(limit.name)=\(limit.defaultText)")
      #expect(limit.text(in: limits) == limit.defaultText)
    }
  }

  @Test func eachLimitReachesItsPlace() throws {
    for limit in ServerLimits.all {
      let defaults = ServerLimits()
      let other =
        "\(limit.range.upperBound)" + (limit.defaultText.last?.isLowercase == true ? "ms" : "")
      var limits = defaults
      try limits.set("\(limit.name)=\(other)")
      let changed = ServerLimits.all.filter { $0.text(in: limits) != $0.text(in: defaults) }
      #expect(changed.map(\.name) == [limit.name])
    }
  }

  @Test(arguments: [
    ("running-calls=7", "running-calls", "7"),
    ("request-message-size=3000000", "request-message-size", "3000000"),
    ("request-message-size=16KiB", "request-message-size", "16KiB"),
    ("request-message-size=1024KiB", "request-message-size", "1MiB"),
    ("preface-timeout=1500ms", "preface-timeout", "1500ms"),
    ("preface-timeout=60s", "preface-timeout", "1m"),
    ("preface-timeout=2h", "preface-timeout", "2h"),
    ("connection-idle-timeout=off", "connection-idle-timeout", "off"),
  ])
  func aValueIsReadAndShown(setting: String, name: String, shown: String) throws {
    var limits = ServerLimits()
    try limits.set(setting)
    #expect(ServerLimits.all.first { $0.name == name }?.text(in: limits) == shown)
  }

  @Test(arguments: [
    ("runing-calls=7", "There is no limit 'runing-calls' (did you mean 'running-calls'?)"),
    ("running-calls", "NAME=VALUE"),
    ("running-calls=", "takes a whole number, from 1 to 10000000; '' is not."),
    ("running-calls=0", "'0' is not."),
    ("running-calls=-1", "'-1' is not."),
    ("running-calls=1s", "'1s' is not."),
    ("running-calls=99999999999999999999", "is not."),
    ("preface-timeout=10", "takes a time such as 500ms, 10s, 5m or 2h, from 1ms to 24h; '10'"),
    ("preface-timeout=off", "'off' is not."),
    ("connection-idle-timeout=no", "from 1ms to 24h, or off; 'no' is not."),
    ("preface-timeout=1.5s", "is not."),
    ("request-message-size=4MB", "takes a size such as 500, 16KiB or 4MiB, from 1 to 1GiB"),
    ("request-message-size=9223372036854775807GiB", "is not."),
  ])
  func aBadSettingIsExplained(setting: String, words: String) {
    var limits = ServerLimits()
    let error = #expect(throws: RPCError.self) { try limits.set(setting) }
    #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
  }

  @Test func aListSetsAllOfIt() throws {
    var limits = ServerLimits()
    try limits.set(list: "running-calls=1, preface-timeout=2s,,connections=3")
    #expect(limits.transport.maximumRunningCalls == 1)
    #expect(limits.transport.http2.prefaceTimeout == .seconds(2))
    #expect(limits.transport.maximumConnections == 3)
  }
}
