import KeelsonCore
import KeelsonStore

/// The identifier of a job: a UUID, stored as its 16 bytes.
struct JobID: Sendable, Hashable, Comparable {
  private let bits: UUIDBits

  /// - Throws: ``StoreError`` with code corrupt for what is no id.
  init(stored bytes: [UInt8]) throws {
    guard let bits = UUIDBits(bytes) else {
      throw StoreError(.corrupt, "A stored job's id has \(bytes.count) bytes.")
    }
    self.bits = bits
  }

  static func make(at time: UnixTime) -> JobID {
    var random = SystemRandomNumberGenerator()
    return JobID(bits: UUIDv7(at: time, using: &random).bits)
  }

  /// Reads the text form, 36 characters; nil for anything else.
  init?(_ text: String) {
    guard let bits = UUIDBits(text) else { return nil }
    self.init(bits: bits)
  }

  private init(bits: UUIDBits) {
    self.bits = bits
  }

  var bytes: [UInt8] { bits.bytes }

  /// 36 lower-case characters.
  var text: String { bits.text }

  static func < (one: Self, other: Self) -> Bool { one.bits < other.bits }
}
