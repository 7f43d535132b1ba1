import KeelsonCore
import Testing

@testable import KeelsonTransport

@Suite struct MessageCompressionTests {
  let compression = MessageCompression()

  @Test(arguments: [100, 1_000, 65_536, 65_537, 3_000_000])
  func whatIsDeflatedInflatesToTheSame(_ count: Int) throws {
    let message = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 16) }
    for _ in 0..<3 {
      let deflated = try #require(compression.deflate(message))
      #expect(deflated.count < message.count)
      #expect(deflated.starts(with: [0x1F, 0x8B]))
      #expect(try compression.inflate(deflated, maximumBytes: count) == message)
    }
  }

  @Test func whatDoesNotGetSmallerStaysAsItIs() {
    var random = SystemRandomNumberGenerator()
    let message = (0..<1_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    #expect(compression.deflate(message) == nil)
    #expect(compression.deflate([]) == nil)
    #expect(compression.deflate([1]) == nil)
  }

  @Test func aMessageOverTheLimitIsRefused() throws {
    let deflated = try #require(compression.deflate([UInt8](repeating: 0, count: 1_000_000)))
    #expect(deflated.count < 2_000)
    for limit in [0, 1, 64 * 1024, 999_999] {
      let error = #expect(throws: RPCError.self) {
        try compression.inflate(deflated, maximumBytes: limit)
      }
      #expect(error?.code == .resourceExhausted)
    }
    #expect(try compression.inflate(deflated, maximumBytes: 1_000_000).count == 1_000_000)
  }

  @Test func whatIsNoGzipStreamIsRefused() throws {
    let deflated = try #require(compression.deflate([UInt8](repeating: 7, count: 5_000)))
    var corrupt = deflated
    corrupt[corrupt.count - 5] ^= 0xFF
    let zlib: [UInt8] = [0x78, 0x9C, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]
    for bytes in [[], [0], Array(deflated.dropLast()), deflated + [0], corrupt, zlib] {
      let error = #expect(throws: RPCError.self) {
        try compression.inflate(bytes, maximumBytes: 10_000)
      }
      #expect(error?.code == .internalError)
    }
    // A broken stream leaves nothing behind for the next.
    #expect(try compression.inflate(deflated, maximumBytes: 10_000).count == 5_000)
  }

  @Test(arguments: [
    ("gzip", true), ("identity,gzip", true), ("identity, deflate , gzip", true), ("", false),
    ("gzip2", false), ("identity", false), ("gzi,p", false),
  ])
  func acceptedEncodings(_ list: String, _ isAccepted: Bool) {
    #expect(MessageEncoding.gzip.isAccepted(by: Array(list.utf8).span) == isAccepted)
  }
}
