import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

extension FuzzTarget {
  /// The scan, unpacking and packing of messages: recursive ones, big ones, one of every type of
  /// field. The first byte says which.
  static let messages = FuzzTarget("messages", maximumBytes: 16 << 10) { input in
    guard let selector = input.first else { return }
    let bytes = Array(input.dropFirst())
    switch selector % 8 {
    case 0: try check(KeelsonTestV1.Everything.self, bytes)
    case 1: try check(GoogleProtobuf.Value.self, bytes)
    case 2: try check(GoogleProtobuf.Struct.self, bytes)
    case 3: try check(KeelsonFlagsV1.Flag.self, bytes)
    case 4: try check(KeelsonFlagsV1.WatchFlagsResponse.self, bytes)
    case 5: try check(KeelsonFlagsV1.UpdateFlagRequest.self, bytes)
    case 6: try check(GrpcReflectionV1.ServerReflectionResponse.self, bytes)
    default: try checkStatus(bytes)
    }
  }

  private static func check<M: Message>(_ type: M.Type, _ bytes: [UInt8]) throws {
    guard let message = try decoded(type, bytes) else { return }
    let encoding = message.encoded()
    // Compared as bytes: a message that holds a NaN does not equal itself.
    guard let again = try decoded(type, encoding) else {
      throw FuzzFailure(description: "\(M.fullName): what was encoded here cannot be decoded")
    }
    try require(again.encoded() == encoding, "\(M.fullName): a round trip changes the encoding")
    _ = try JSONValue(parsing: message.json.text)
  }

  private static func decoded<M: Message>(_ type: M.Type, _ bytes: [UInt8]) throws -> M? {
    do throws(RPCError) {
      return try M(decoding: bytes)
    } catch {
      try require(error.code == .invalidArgument, "\(M.fullName): refused with \(error)")
      return nil
    }
  }

  /// The details of a status, as a client gets them from any server.
  private static func checkStatus(_ bytes: [UInt8]) throws {
    try check(GoogleRpc.Status.self, bytes)
    var error = RPCError(.unknown, "")
    error.encodedStatus = bytes
    let received = error.withDecodedDetails()
    var resent = RPCError(.unknown, "", details: received.details)
    resent = resent.withEncodedStatus()
    resent.details = []
    let sendable = received.details.filter { detail in
      if case .debugInfo = detail { false } else { true }
    }
    try require(resent.withDecodedDetails().details == sendable, "details change when passed on")
  }
}
