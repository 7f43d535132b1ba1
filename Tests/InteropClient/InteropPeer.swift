import KeelsonCore
import KeelsonTestMessages
import KeelsonTransport

/// The server under test, and the ways to call it.
struct InteropPeer: Sendable {
  let channel: HTTP2Channel
  let client: GrpcTesting.TestServiceClient

  init(channel: HTTP2Channel) {
    self.channel = channel
    client = GrpcTesting.TestServiceClient(channel: channel)
  }
}

/// Why a case failed: what was expected, and what came.
struct CaseFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// Fails the case unless the condition holds.
func expect(_ condition: Bool, _ otherwise: @autoclosure () -> String) throws(CaseFailure) {
  if !condition { throw CaseFailure(otherwise()) }
}

/// Makes a call that has to end with a status; the error that it ended with.
@discardableResult
func expectStatus(
  _ code: RPCError.Code, of call: String, _ body: () async throws -> Void
) async throws -> RPCError {
  do {
    try await body()
  } catch let error as RPCError {
    try expect(
      error.code == code, "\(call) ended with \(error) where \(code) was expected")
    return error
  }
  throw CaseFailure("\(call) succeeded where \(code) was expected")
}

extension GrpcTesting.Payload {
  static func zeros(_ bytes: Int) -> GrpcTesting.Payload {
    GrpcTesting.Payload(body: [UInt8](repeating: 0, count: bytes))
  }
}

extension GrpcTesting.Payload? {
  /// Fails the case unless this is a payload of that many zeros.
  func expectZeros(_ bytes: Int, in message: String) throws(CaseFailure) {
    guard let self else { throw CaseFailure("\(message) has no payload") }
    try expect(
      self.body.count == bytes, "\(message) has \(self.body.count) bytes, not \(bytes)")
    try expect(self.body.allSatisfy { $0 == 0 }, "\(message) has bytes that are not 0")
    try expect(self.type == .compressable, "\(message) has the type \(self.type)")
  }
}

extension GrpcTesting.SimpleRequest {
  static let largeRequestBytes = 271_828
  static let largeResponseBytes = 314_159

  /// What most unary cases send.
  static let large = GrpcTesting.SimpleRequest(
    responseSize: Int32(largeResponseBytes), payload: .zeros(largeRequestBytes))
}
