import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

struct MessageDeframerTests {
  private struct Delivered: Equatable {
    var message: [UInt8]
    var isCompressed: Bool
  }

  private static func frame(_ message: [UInt8], isCompressed: Bool = false) -> [UInt8] {
    let length = message.count
    return [
      isCompressed ? 1 : 0, UInt8(length >> 24 & 0xFF), UInt8(length >> 16 & 0xFF),
      UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF),
    ] + message
  }

  private static func read(
    _ pieces: [[UInt8]], with deframer: inout MessageDeframer
  ) throws -> [Delivered] {
    var delivered: [Delivered] = []
    for piece in pieces {
      try deframer.read(piece.span) { delivered.append(Delivered(message: $0, isCompressed: $1)) }
    }
    return delivered
  }

  @Test func everySplitOfABodyIntoThreePiecesGivesTheSameMessages() throws {
    let expected = [
      Delivered(message: [1, 2, 3], isCompressed: false),
      Delivered(message: [], isCompressed: false),
      Delivered(message: [4], isCompressed: true),
      Delivered(message: Array(0..<20), isCompressed: false),
    ]
    let body = expected.flatMap { Self.frame($0.message, isCompressed: $0.isCompressed) }
    for first in 0...body.count {
      for second in first...body.count {
        var deframer = MessageDeframer(maximumMessageBytes: 20)
        let pieces = [body[..<first], body[first..<second], body[second...]].map(Array.init)
        #expect(try Self.read(pieces, with: &deframer) == expected)
        #expect(!deframer.isInsideMessage)
      }
    }
  }

  @Test func randomBodiesInRandomPiecesComeBackWhole() throws {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<200 {
      let expected = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        Delivered(
          message: (0..<Int.random(in: 0...300, using: &random)).map { _ in
            UInt8.random(in: 0...255, using: &random)
          },
          isCompressed: Bool.random(using: &random))
      }
      var rest = expected.flatMap { Self.frame($0.message, isCompressed: $0.isCompressed) }[...]
      var pieces: [[UInt8]] = []
      while !rest.isEmpty {
        let count = Int.random(in: 0...min(rest.count, 400), using: &random)
        pieces.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      var deframer = MessageDeframer(maximumMessageBytes: 300)
      #expect(try Self.read(pieces, with: &deframer) == expected)
    }
  }

  @Test func aMessageOverTheLimitIsRefusedOnItsLengthAlone() {
    var deframer = MessageDeframer(maximumMessageBytes: 1000)
    let error = #expect(throws: RPCError.self) {
      try deframer.read([0, 0, 0, 0x03, 0xE9].span) { _, _ in }
    }
    #expect(error?.code == .resourceExhausted)
    #expect(error?.message.contains("1001") == true && error?.message.contains("1000") == true)
  }

  @Test func aMessageOfTheLimitPasses() throws {
    var deframer = MessageDeframer(maximumMessageBytes: 1000)
    let message = [UInt8](repeating: 9, count: 1000)
    let delivered = try Self.read([Self.frame(message)], with: &deframer)
    #expect(delivered == [Delivered(message: message, isCompressed: false)])
  }

  @Test func unknownFlagsAreRefused() {
    var deframer = MessageDeframer(maximumMessageBytes: 10)
    let error = #expect(throws: RPCError.self) {
      try deframer.read([2, 0, 0, 0, 0].span) { _, _ in }
    }
    #expect(error?.code == .internalError)
  }

  @Test func aCutOffMessageShows() throws {
    var deframer = MessageDeframer(maximumMessageBytes: 10)
    _ = try Self.read([[0]], with: &deframer)
    #expect(deframer.isInsideMessage)
    _ = try Self.read([[0, 0, 0, 2, 5]], with: &deframer)
    #expect(deframer.isInsideMessage)
    _ = try Self.read([[6]], with: &deframer)
    #expect(!deframer.isInsideMessage)
  }

  @Test func outgoingMessagesReadBackForEveryRoomSize() throws {
    for count in [0, 1, 4, 5, 6, 70, 300] {
      let message = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      for room in 1...(count + 6) {
        var outgoing = OutgoingMessage(message, isCompressed: room % 2 == 0)
        #expect(outgoing.remainingBytes == count + 5)
        var pieces: [[UInt8]] = []
        while outgoing.remainingBytes > 0 {
          let before = outgoing.remainingBytes
          var piece = [UInt8](repeating: 0, count: room)
          let copied = piece.withUnsafeMutableBytes { outgoing.copy(into: $0) }
          #expect(copied == min(room, before))
          #expect(outgoing.remainingBytes == before - copied)
          pieces.append(Array(piece.prefix(copied)))
        }
        var deframer = MessageDeframer(maximumMessageBytes: 300)
        #expect(
          try Self.read(pieces, with: &deframer)
            == [Delivered(message: message, isCompressed: room % 2 == 0)])
      }
    }
  }
}
