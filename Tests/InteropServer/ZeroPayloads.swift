import KeelsonCore
import KeelsonTestMessages
import Synchronization

/// Payloads of zeros, each size built once: calls ask for the same few sizes again and again.
final class ZeroPayloads: Sendable {
  /// The largest payload that may be asked for.
  static let maximumBytes: Int32 = 64 * 1024 * 1024
  /// How many sizes are kept, and up to which size; others are built for their call.
  static let maximumKept = 64
  static let maximumKeptBytes: Int32 = 1024 * 1024

  private let kept = Mutex<[Int32: GrpcTesting.Payload]>([:])

  /// A payload of that many zeros.
  ///
  /// - Throws: INVALID_ARGUMENT for a size below 0 or above ``maximumBytes``.
  func payload(bytes: Int32) throws(RPCError) -> GrpcTesting.Payload {
    guard (0...Self.maximumBytes).contains(bytes) else {
      throw RPCError(
        .invalidArgument, "The size of a payload is 0 to \(Self.maximumBytes) bytes, not \(bytes).")
    }
    if let payload = kept.withLock({ $0[bytes] }) { return payload }
    let payload = GrpcTesting.Payload(body: [UInt8](repeating: 0, count: Int(bytes)))
    guard bytes <= Self.maximumKeptBytes else { return payload }
    kept.withLock { kept in
      if kept.count < Self.maximumKept { kept[bytes] = payload }
    }
    return payload
  }
}
