import Testing

@testable import KeelsonRedis

@Suite struct RedisReplyReaderTests {
  /// Reads bytes in pieces of a size.
  private static func read(_ text: String, pieces: Int) throws -> [RedisReply] {
    let reader = RedisReplyReader()
    var replies: [RedisReply] = []
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let piece = Array(bytes.prefix(pieces))
      bytes = bytes.dropFirst(pieces)
      try piece.withUnsafeBytes { raw in try reader.read(raw) { replies.append($0) } }
    }
    return replies
  }

  private static let text =
    "+OK\r\n:-7\r\n$5\r\nhe\r\no\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n"
    + "*3\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n$-1\r\n*0\r\n$1\r\nx\r\n"

  @Test(arguments: [1, 2, 7, 1_000]) func readsEveryKind(_ pieces: Int) throws {
    let expected: [RedisReply] = [
      .bytes(Array("OK".utf8)), .integer(-7), .bytes(Array("he\r\no".utf8)), .null, .null,
      .array([]), .error("ERR no"),
      .array([.array([.integer(1), .array([.bytes([])])]), .null, .array([])]),
      .bytes(Array("x".utf8)),
    ]
    #expect(try Self.read(Self.text, pieces: pieces) == expected)
  }

  @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "?\r\n", "$x\r\n", "*5000000000\r\n"])
  func saysThatItIsNoRedis(_ text: String) throws {
    let error = #expect(throws: RedisError.self) { try Self.read(text, pieces: 1_000) }
    #expect(error?.message.contains("is the port right?") == true)
  }

  @Test func writesCommands() {
    var command = RedisCommand(words: 3)
    command.append("key:", "a")
    command.append([0x0D, 0x0A])
    command.append(bytes: 12) { $0 += [UInt8](repeating: 0x61, count: 12) }
    #expect(
      String(decoding: command.bytes, as: UTF8.self)
        == "*3\r\n$5\r\nkey:a\r\n$2\r\n\r\n\r\n$12\r\naaaaaaaaaaaa\r\n")
    #expect(
      String(decoding: RedisCommand("GET", "é").bytes, as: UTF8.self)
        == "*2\r\n$3\r\nGET\r\n$2\r\né\r\n")
  }
}
