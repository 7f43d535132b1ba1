import KeelsonCore
import Testing

@testable import KeelsonServer

@Suite struct CallLogTests {
  private static let read = MethodDescriptor(
    service: "s", name: "Read", kind: .unary, isIdempotent: true)
  private static let frequent = MethodDescriptor(
    service: "keelson.cache.v1.CacheService", name: "SetEntry", kind: .unary)
  private static let write = MethodDescriptor(service: "s", name: "Write", kind: .unary)

  @Test(arguments: [
    (write, RPCError.Code.ok, "info"), (frequent, .unavailable, "warning"),
    (write, .unavailable, "warning"),
    (write, .internalError, "error"), (read, .unknown, "error"),
    (read, .resourceExhausted, "warning"),
  ])
  func whatMattersIsLogged(
    method: MethodDescriptor, code: RPCError.Code, level: String
  ) throws {
    let line = try #require(log(method, code).first)
    guard case .object(let members) = try JSONValue(parsing: line) else {
      Issue.record("no object")
      return
    }
    #expect(members["level"] == .string(level))
    #expect(members["message"] == .string(method.path))
    #expect(members["correlation_id"] == "c-1")
    guard case .object(var fields) = members["fields"] else {
      Issue.record("no fields")
      return
    }
    // Why it failed is for those who keep the server running.
    let saysWhy = level != "info"
    #expect(fields.removeValue(forKey: "error") == (saysWhy ? "what failed" : nil))
    #expect(fields.removeValue(forKey: "cause") == (saysWhy ? "why it did" : nil))
    #expect(
      JSONValue.object(fields) == [
        "status": .string(code.description), "peer": "unix:", "milliseconds": "1.500",
        "received_bytes": "10", "sent_bytes": "20",
      ])
  }

  @Test(arguments: [
    (read, RPCError.Code.ok), (frequent, .ok), (write, .notFound), (write, .invalidArgument),
  ])
  func whatIsFrequentIsNot(method: MethodDescriptor, code: RPCError.Code) {
    #expect(log(method, code).isEmpty)
  }

  @Test func whatTheServerHadNoRoomForIsNot() {
    #expect(log(Self.write, .resourceExhausted, wasRefused: true).isEmpty)
  }

  private func log(
    _ method: MethodDescriptor, _ code: RPCError.Code, wasRefused: Bool = false
  ) -> [String] {
    let lines = Watchable<[String]>([])
    let logger = Logger(component: "calls", minimum: .info, humanReadable: false) { line in
      lines.update { $0.append(line) }
    }
    CallLog(logger: logger).log(
      ServerContext(method: method, peer: "unix:", correlation: .given("c-1")),
      CallSummary(
        code: code,
        duration: .microseconds(1_500), receivedBytes: 10, sentBytes: 20,
        wasRefused: wasRefused, message: "what failed", cause: "why it did"))
    return lines.value
  }
}
