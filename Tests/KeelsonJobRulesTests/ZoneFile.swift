import Glibc
import KeelsonCore
import KeelsonJobRules
import Testing

/// The time zone database of the machine.
enum ZoneFile {
  static func bytes(of name: String) throws -> [UInt8] {
    let file = try #require(fopen("/usr/share/zoneinfo/\(name)", "rb"), "tzdata has no \(name)")
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes.prefix(count))
  }

  static func rules(of name: String) throws -> TimeZoneRules {
    name == "UTC" ? .utc : try TimeZoneRules(file: bytes(of: name))
  }

  /// A time as RFC 3339 has it, in UTC, with a fraction of six digits or none.
  static func time(_ text: String) throws -> UnixTime {
    try #require(
      UnixTime(exactly: text.contains(".") ? text : text.replacing("Z", with: ".000000Z")))
  }

  static func moment(_ text: String) throws -> Int {
    Int(try time(text).microseconds / 1_000_000)
  }
}

extension CronExpression {
  /// The next times, as the wall clock of the zone shows them, with its offset in hours or without.
  func occurrences(
    _ count: Int, after start: String, in name: String, withOffset: Bool = false
  ) throws -> [String] {
    let zone = try ZoneFile.rules(of: name)
    var time = try ZoneFile.time(start)
    var times: [String] = []
    while times.count < count, let next = self.next(after: time, in: zone) {
      time = next
      let period = zone.period(at: Int(next.microseconds / 1_000_000))
      let shown = UnixTime(
        microseconds: next.microseconds + Int64(period.offsetSeconds) * 1_000_000
      ).description.prefix(19)
      let hours = Double(period.offsetSeconds) / 3_600
      times.append(shown + (withOffset ? (hours < 0 ? "\(hours)" : "+\(hours)") : ""))
    }
    return times
  }
}
