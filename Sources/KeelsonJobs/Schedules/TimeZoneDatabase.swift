import Glibc
import KeelsonCore
import KeelsonJobRules
import Synchronization

/// The time zones of the machine, by name. Files are read once: a process that is to know of new
/// rules is started anew.
final class TimeZoneDatabase: Sendable {
  /// Where Debian's tzdata has them.
  static let folder = "/usr/share/zoneinfo"
  /// No zone's file is larger by far.
  private static let fileBytes = 1 << 20

  private let folder: String
  private let zones = Mutex<[String: TimeZoneRules]>([:])

  init(folder: String = TimeZoneDatabase.folder) {
    self.folder = folder
  }

  /// - Parameter name: `Europe/Riga` for example; empty for UTC.
  /// - Throws: `RPCError` INVALID_ARGUMENT when there is no such zone.
  func zone(_ name: String, field: String) throws -> TimeZoneRules {
    if name.isEmpty || name == "UTC" { return .utc }
    if let known = zones.withLock({ $0[name] }) { return known }
    guard Self.isName(name), let bytes = read("\(folder)/\(name)") else {
      throw RPCError.invalidArgument(
        field: field,
        "'\(name.prefix(64))' is no zone of the IANA time zone database on this server; write "
          + "'Europe/Riga' or 'UTC', for example")
    }
    do {
      let zone = try TimeZoneRules(file: bytes)
      zones.withLock { $0[name] = zone }
      return zone
    } catch {
      throw RPCError.invalidArgument(
        field: field, "the file of the zone '\(name)' cannot be read: \(error)")
    }
  }

  /// Parts of letters, digits, `_`, `+` and `-`, so that no path leads out of the folder.
  private static func isName(_ name: String) -> Bool {
    name.utf8.count <= 64
      && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
        !part.isEmpty
          && part.utf8.allSatisfy {
            switch $0 {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            case UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: "-"): true
            default: false
            }
          }
      }
  }

  private func read(_ path: String) -> [UInt8]? {
    guard let file = fopen(path, "rb") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: Self.fileBytes)
    let count = fread(&bytes, 1, bytes.count, file)
    return count > 0 && count < bytes.count ? Array(bytes.prefix(count)) : nil
  }
}
