import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// Messages as they stand in columns and payloads.
enum StoredMessage {
  /// The limits for what was encoded here: those for requests do not apply.
  static let limits = DecodingLimits.reply

  static func decode<M: Message>(_ bytes: [UInt8], as type: M.Type = M.self) throws -> M {
    do throws(RPCError) {
      return try M(decoding: bytes, limits: limits)
    } catch {
      throw StoreError(.corrupt, "A stored \(M.self) does not decode.", cause: error)
    }
  }

  static func decode<M: Message>(_ row: Row, _ column: String = "body") throws -> M {
    try decode(row.get(column, as: [UInt8].self))
  }
}

extension KeelsonConfigurationV1.StoredValue {
  /// The data key that it is sealed with; 0: it is not sealed.
  var dataKey: Int64 {
    if case .sealed(let sealed) = content { return sealed.dataKey }
    return 0
  }

  var isSealed: Bool { dataKey != 0 }
}
