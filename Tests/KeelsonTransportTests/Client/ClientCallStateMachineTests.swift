import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

struct ClientCallStateMachineTests {
  private typealias Machine = ClientCallStateMachine
  private static let head = [(":status", "200"), ("content-type", "application/grpc")]

  private static func fields(_ fields: [(String, String)]) -> HTTP2Fields {
    var list = HTTP2Fields()
    for (name, value) in fields { list.append(name, value) }
    return list
  }

  private static func started() -> Machine {
    var machine = Machine(maximumMessageBytes: 100)
    _ = machine.head(fields(head))
    return machine
  }

  private static func failure(_ head: Machine.Head?) -> RPCError? {
    if case .end(.failed(let error)) = head { error } else { nil }
  }

  /// What the tests hand in as compressed is the message behind a byte that says how it went.
  private static func inflate(_ message: [UInt8], _ limit: Int) throws(RPCError) -> [UInt8] {
    guard message.count - 1 <= limit else { throw RPCError(.resourceExhausted, "too long") }
    return Array(message.dropFirst())
  }

  private static func data(
    _ machine: inout Machine, _ piece: [UInt8], deliver: ([UInt8]) -> Void = { _ in }
  ) -> CallEnd? {
    machine.data(piece.span, inflate: inflate, deliver: deliver)
  }

  @Test func aCallThatGoesWell() {
    var machine = Machine(maximumMessageBytes: 100)
    let head = machine.head(Self.fields(Self.head + [("x-a", "1")]))
    #expect(head == .metadata(["x-a": "1"]))
    var messages: [[UInt8]] = []
    let broken = Self.data(&machine, [0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0]) { messages.append($0) }
    #expect(broken == nil)
    #expect(messages == [[7, 8], []])
    let end = machine.trailers(Self.fields([("grpc-status", "0"), ("x-b", "2")]))
    #expect(end == .ok(["x-b": "2"]))
    #expect(machine.hasEnded)
  }

  @Test func aStatusWithAllItsParts() {
    var machine = Self.started()
    let end = machine.trailers(
      Self.fields([
        ("grpc-status", "5"), ("grpc-message", "no%20fl%C3%A4g"),
        ("grpc-status-details-bin", "AQID"), ("x-b", "2"),
      ]))
    var expected = RPCError(.notFound, "no fläg", metadata: ["x-b": "2"])
    expected.encodedStatus = [1, 2, 3]
    #expect(end == .failed(expected))
  }

  @Test func trailersOnly() {
    var machine = Machine(maximumMessageBytes: 100)
    let head = machine.head(
      Self.fields(Self.head + [("grpc-status", "12"), ("grpc-message", "no")]))
    #expect(head == .end(.failed(RPCError(.unimplemented, "no"))))
  }

  @Test(arguments: [
    ([(":status", "503")], RPCError.Code.unavailable),
    ([(":status", "404")], .unimplemented),
    ([(":status", "200"), ("content-type", "text/html")], .unknown),
    ([("content-type", "application/grpc")], .unknown),
  ])
  func responsesThatAreNotGRPC(fields: [(String, String)], code: RPCError.Code) {
    var machine = Machine(maximumMessageBytes: 100)
    let error = Self.failure(machine.head(Self.fields(fields)))
    #expect(error?.code == code)
  }

  @Test func aGRPCStatusCountsMoreThanAnHTTPStatus() {
    var machine = Machine(maximumMessageBytes: 100)
    let head = machine.head(Self.fields([(":status", "503"), ("grpc-status", "7")]))
    #expect(Self.failure(head)?.code == .permissionDenied)
  }

  @Test func missingAndMalformedStatuses() {
    var noStatus = Self.started()
    let missing = noStatus.trailers(Self.fields([("x-b", "2")]))
    #expect(missing?.error?.code == .unknown)
    var badStatus = Self.started()
    let malformed = badStatus.trailers(Self.fields([("grpc-status", "five")]))
    #expect(malformed?.error?.code == .unknown)
    var endedByData = Self.started()
    let ended = endedByData.endOfStream()
    #expect(ended?.error?.code == .internalError)
    var cutOff = Self.started()
    _ = Self.data(&cutOff, [0, 0, 0])
    let cut = cutOff.trailers(Self.fields([("grpc-status", "0")]))
    #expect(cut?.error?.code == .internalError)
  }

  @Test func messagesThatBreakRules() {
    var tooLong = Self.started()
    let long = Self.data(&tooLong, [0, 0, 0, 0, 101])
    #expect(long?.error?.code == .resourceExhausted)
    var compressed = Self.started()
    let packed = Self.data(&compressed, [1, 0, 0, 0, 0])
    #expect(packed?.error?.code == .internalError)
    var headless = Machine(maximumMessageBytes: 100)
    let early = Self.data(&headless, [0])
    #expect(early?.error?.code == .internalError)
  }

  @Test func compressedMessages() {
    var machine = Machine(maximumMessageBytes: 4)
    _ = machine.head(Self.fields(Self.head + [("grpc-encoding", "gzip")]))
    var messages: [[UInt8]] = []
    let fine = Self.data(&machine, [1, 0, 0, 0, 3, 99, 7, 8, 0, 0, 0, 0, 1, 9]) {
      messages.append($0)
    }
    #expect(fine == nil)
    #expect(messages == [[7, 8], [9]])
    let second = Self.data(&machine, [1, 0, 0, 0, 4, 9, 9, 9, 9, 1, 0, 0, 0, 0]) { _ in }
    #expect(second == nil)
    let long = Self.data(&machine, [1, 0, 0, 0, 5]) { _ in }
    #expect(long?.error?.code == .resourceExhausted, "by its compressed length already")
  }

  @Test func encodingsThatCannotBeRead() {
    var strange = Machine(maximumMessageBytes: 100)
    let head = strange.head(Self.fields(Self.head + [("grpc-encoding", "snappy")]))
    #expect(Self.failure(head)?.code == .internalError)
    #expect(Self.failure(head)?.message.contains("snappy") == true)
    var unsaid = Self.started()
    let flagged = Self.data(&unsaid, [1, 0, 0, 0, 1, 0])
    #expect(flagged?.error?.code == .internalError)
  }

  @Test(arguments: [
    (HTTP2ErrorCode.refusedStream, false, RPCError.Code.unavailable),
    (.cancel, false, .cancelled), (.cancel, true, .deadlineExceeded),
    (.enhanceYourCalm, false, .resourceExhausted), (.internalError, true, .internalError),
  ])
  func resets(code: HTTP2ErrorCode, isLate: Bool, expected: RPCError.Code) {
    var machine = Self.started()
    #expect(machine.reset(errorCode: code, deadlineHasPassed: isLate)?.error?.code == expected)
  }

  /// Whatever comes in whatever order: there is at most one end, and nothing after it.
  @Test(arguments: 0..<200 as Range<UInt64>)
  func randomEventsEndACallAtMostOnce(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var machine = Machine(maximumMessageBytes: 10)
    var ends = 0
    var events = 0
    let blocks = [
      Self.head, Self.head + [("grpc-status", "0")], [("grpc-status", "3")],
      [(":status", "500")], [("x", "y")], [],
    ]
    for _ in 0..<40 {
      let hadEnded = machine.hasEnded
      var end: CallEnd?
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<4:
        let fields = Self.fields(blocks.randomElement(using: &random) ?? [])
        if Bool.random(using: &random) {
          end = machine.trailers(fields)
        } else {
          switch machine.head(fields) {
          case nil: break
          case .metadata: events += hadEnded ? 1 : 0
          case .end(let how): end = how
          }
        }
      case 4..<8:
        let piece = (0..<Int.random(in: 0...9, using: &random)).map { _ in
          UInt8.random(in: 0...1, using: &random)
        }
        end = Self.data(&machine, piece) { _ in events += hadEnded ? 1 : 0 }
      case 8: end = machine.endOfStream()
      default: end = machine.reset(errorCode: .cancel, deadlineHasPassed: false)
      }
      if end != nil { ends += 1 }
      #expect(machine.hasEnded == (ends == 1))
    }
    #expect(ends <= 1 && events == 0)
  }
}
