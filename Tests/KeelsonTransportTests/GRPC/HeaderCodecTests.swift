import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Testing

struct GRPCTimeoutTests {
  private static func parse(_ text: String) -> Duration? { GRPCTimeout.parse(text.utf8Span.span) }

  @Test(arguments: [
    ("1n", Duration.nanoseconds(1)), ("250u", .microseconds(250)), ("1500m", .milliseconds(1500)),
    ("5S", .seconds(5)), ("2M", .seconds(120)), ("3H", .seconds(10800)),
    ("99999999H", .seconds(99_999_999 * 3600)), ("0S", .zero), ("00000007S", .seconds(7)),
  ])
  func reads(text: String, expected: Duration) {
    #expect(Self.parse(text) == expected)
  }

  @Test(arguments: ["", "S", "5", "5s", "-5S", "+5S", "5 S", "123456789S", "1.5S", "5SS", "٣S"])
  func refuses(text: String) {
    #expect(Self.parse(text) == nil)
  }

  @Test(arguments: [
    (Duration.zero, "1n"), (.seconds(-4), "1n"), (.nanoseconds(99_999_999), "99999999n"),
    (.nanoseconds(100_000_001), "100001u"), (.seconds(1), "1000000u"), (.seconds(100), "100000m"),
    (.seconds(1_000_000), "1000000S"), (.seconds(99_999_999), "99999999S"),
    (.seconds(100_000_000), "1666667M"), (.seconds(Int64.max), "99999999H"),
  ])
  func writes(timeout: Duration, expected: String) {
    #expect(GRPCTimeout.format(timeout) == expected)
  }

  @Test func roundTripsNeverShortenAndHardlyLengthen() throws {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<20_000 {
      let magnitude = Int.random(in: 0...16, using: &random)
      let limit = (0..<magnitude).reduce(Int64(10)) { value, _ in value * 10 }
      let timeout = Duration.nanoseconds(Int64.random(in: 1...limit, using: &random))
      let text = GRPCTimeout.format(timeout)
      #expect(text.utf8.count <= 9)
      let parsed = try #require(Self.parse(text))
      #expect(parsed >= timeout)
      #expect(parsed - timeout <= timeout / 100_000)
    }
  }
}

struct Base64Tests {
  private static func decode(_ text: String) -> [UInt8]? { Base64.decode(text.utf8Span.span) }

  /// The test vectors of RFC 4648 section 10.
  @Test(arguments: [
    ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
    ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
  ])
  func vectors(plain: String, encoded: String) {
    let text = Base64.encode(plain.utf8Span.span)
    #expect(text == Array(encoded.utf8))
    #expect(Self.decode(encoded) == Array(plain.utf8))
    let padding = String(repeating: "=", count: (4 - encoded.utf8.count % 4) % 4)
    #expect(Self.decode(encoded + padding) == Array(plain.utf8))
  }

  @Test(arguments: ["A", "AAAAA", "Zg=", "Zm9v=", "Zg===", "=", "====", "Z-8", "Zm 9", "Zg==Zg"])
  func refuses(text: String) {
    #expect(Self.decode(text) == nil)
  }

  @Test func roundTrips() {
    var random = SeededGenerator(seed: 2)
    for count in 0..<300 {
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      let text = Base64.encode(bytes.span)
      let decoded = Base64.decode(text.span)
      #expect(decoded == bytes)
    }
  }
}

struct StatusMessageTests {
  private static func decode(_ text: String) -> String { StatusMessage.decode(text.utf8Span.span) }

  @Test(arguments: [
    ("", ""), ("plain text", "plain text"), ("100%", "100%25"),
    ("\t\ntest with whitespace\r\n", "%09%0Atest with whitespace%0D%0A"),
    ("Zoë 😈", "Zo%C3%AB %F0%9F%98%88"),
  ])
  func encodesAndDecodes(message: String, encoded: String) {
    #expect(StatusMessage.encode(message) == encoded)
    #expect(Self.decode(encoded) == message)
  }

  @Test(arguments: [
    ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%c3%ab", "ë"), ("a%FFb", "a\u{FFFD}b"),
    ("%%20", "% "),
  ])
  func decodesWhatIsNotWellFormed(value: String, message: String) {
    #expect(Self.decode(value) == message)
  }

  @Test func roundTrips() {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<2000 {
      var message = ""
      for _ in 0..<Int.random(in: 0...20, using: &random) {
        let limit: UInt32 = Bool.random(using: &random) ? 0x7F : 0x10FFFF
        if let scalar = Unicode.Scalar(UInt32.random(in: 0...limit, using: &random)) {
          message.unicodeScalars.append(scalar)
        }
      }
      let encoded = StatusMessage.encode(message)
      #expect(encoded.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7E })
      #expect(Self.decode(encoded) == message)
    }
  }
}

struct MetadataCodecTests {
  private static func decode(_ fields: [(String, String)]) -> Metadata {
    var metadata = Metadata()
    for (name, value) in fields {
      MetadataCodec.add(name: name.utf8Span.span, value: value.utf8Span.span, to: &metadata)
    }
    return metadata
  }

  private static func encode(_ metadata: Metadata) throws -> [(String, String)] {
    var fields: [(String, String)] = []
    try MetadataCodec.encode(metadata) { fields.append(($0, $1)) }
    return fields
  }

  @Test func whatTheProtocolUsesStaysOut() {
    let metadata = Self.decode([
      (":path", "/a/b"), ("te", "trailers"), ("content-type", "application/grpc"),
      ("grpc-timeout", "1S"), ("grpc-anything", "x"), ("host", "h"), ("user-agent", "me/1"),
      ("x-mine", "yes"), ("tea", "green"),
    ])
    #expect(metadata == ["user-agent": "me/1", "x-mine": "yes", "tea": "green"])
  }

  @Test func binaryValuesAreSplitAtCommas() {
    let metadata = Self.decode([("a-bin", "Zg,Zm8=, Zm9v"), ("b-bin", "!"), ("b-bin", "")])
    var expected = Metadata()
    expected.add("a-bin", binary: Array("f".utf8))
    expected.add("a-bin", binary: Array("fo".utf8))
    expected.add("a-bin", binary: Array("foo".utf8))
    expected.add("b-bin", binary: [])
    #expect(metadata == expected)
  }

  @Test func textThatOnlyHTTPAllowsIsLeftOut() {
    let metadata = Self.decode([("a", "caf\u{E9}"), ("a", "tab\there"), ("a", "plain"), ("b", "")])
    #expect(metadata == ["a": "plain", "b": ""])
  }

  @Test func roundTrips() throws {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<500 {
      var metadata = Metadata()
      for index in 0..<Int.random(in: 0...6, using: &random) {
        if Bool.random(using: &random) {
          metadata.add(
            "name-\(index)-bin",
            binary: (0..<Int.random(in: 0...9, using: &random)).map { _ in
              UInt8.random(in: 0...255, using: &random)
            })
        } else {
          let text = (0..<Int.random(in: 0...9, using: &random)).map { _ in
            UInt8.random(in: 0x20...0x7E, using: &random)
          }
          metadata.add("name.\(index % 3)_x", String(decoding: text, as: UTF8.self))
        }
      }
      #expect(Self.decode(try Self.encode(metadata)) == metadata)
    }
  }

  @Test(arguments: [
    "grpc-status", ":path", "te", "content-type", "user-agent", "a b", "", "ä", "text-bin",
  ])
  func textUnderAWrongNameIsRefused(name: String) {
    let error = #expect(throws: RPCError.self) { _ = try Self.encode([name: "value"]) }
    #expect(error?.code == .internalError)
  }

  @Test func wrongValuesAreRefused() {
    #expect(throws: RPCError.self) { _ = try Self.encode(["a": "ü"]) }
    #expect(throws: RPCError.self) { _ = try Self.encode(["a": "line\nline"]) }
    var metadata = Metadata()
    metadata.add("a", binary: [1])
    #expect(throws: RPCError.self) { _ = try Self.encode(metadata) }
  }
}

struct StatusMappingTests {
  @Test(arguments: [
    "application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8",
    "Application/GRPC+json; a=b",
  ])
  func contentTypesOfGRPC(value: String) {
    let isGRPC = ContentType.isGRPC(value.utf8Span.span)
    #expect(isGRPC)
  }

  @Test(arguments: [
    "", "application/grp", "application/grpc-web", "application/grpcx", "text/html",
  ])
  func otherContentTypes(value: String) {
    let isGRPC = ContentType.isGRPC(value.utf8Span.span)
    #expect(!isGRPC)
  }

  @Test(arguments: [
    (400, RPCError.Code.internalError), (401, .unauthenticated), (403, .permissionDenied),
    (404, .unimplemented), (429, .unavailable), (502, .unavailable), (503, .unavailable),
    (504, .unavailable), (200, .unknown), (500, .unknown), (415, .unknown),
  ])
  func httpStatuses(status: Int, code: RPCError.Code) {
    #expect(RPCError.Code(httpStatus: status) == code)
  }

  @Test(arguments: [
    (UInt32(0x0), RPCError.Code.internalError), (0x1, .internalError), (0x5, .internalError),
    (0x7, .unavailable), (0x8, .cancelled), (0xB, .resourceExhausted), (0xC, .permissionDenied),
  ])
  func resetStreams(errorCode: UInt32, code: RPCError.Code) {
    #expect(RPCError.Code(http2ErrorCode: errorCode) == code)
  }

  @Test(arguments: [
    ("0", 0), ("16", 16), ("77", 77), ("", nil), ("x", nil), ("-1", nil), ("1 ", nil),
    ("9999999999", nil),
  ])
  func grpcStatuses(text: String, code: Int?) {
    let parsed = RPCError.Code(grpcStatus: text.utf8Span.span)
    #expect(parsed?.rawValue == code)
  }
}
