import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTestMessages
import Testing

@Suite struct HostileInputTests {
  /// What decoding throws; nil when it succeeds.
  private func failure<M: Message>(
    _ type: M.Type, _ bytes: [UInt8], limits: DecodingLimits = .standard
  ) -> RPCError? {
    do throws(RPCError) {
      _ = try M(decoding: bytes, limits: limits)
      return nil
    } catch {
      return error
    }
  }

  private func varint(_ value: Int) -> [UInt8] {
    var value = value
    var bytes: [UInt8] = []
    while value >= 0x80 {
      bytes.append(UInt8(value & 0x7F) | 0x80)
      value >>= 7
    }
    return bytes + [UInt8(value)]
  }

  /// Messages of field `inner` (141) within one another.
  private func nested(_ levels: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 1..<levels { bytes = [0xEA, 0x08] + varint(bytes.count) + bytes }
    return bytes
  }

  @Test func nestingAtTheLimitIsReadAndBeyondItRejected() throws {
    #expect(failure(Everything.self, nested(100)) == nil)
    let error = try #require(failure(Everything.self, nested(101)))
    #expect(error.code == .invalidArgument)
    #expect(error.message.contains("keelson.test.v1.Everything"))
    #expect(error.message.contains("100 levels"))
    #expect(failure(Everything.self, nested(10_000))?.code == .invalidArgument)
  }

  /// A google.protobuf.Value with lists in lists.
  private func nestedLists(_ levels: Int) -> [UInt8] {
    var value: [UInt8] = [0x20, 1]  // bool_value: true
    for _ in 0..<levels {
      let list = [0x0A] + varint(value.count) + value
      value = [0x32] + varint(list.count) + list
    }
    return value
  }

  @Test func deepStructsAreRejected() {
    #expect(
      failure(GoogleProtobuf.Value.self, nestedLists(10_000))?.code == .invalidArgument)
  }

  @Test func theDeepestStructAllowedNeedsHalfAMebibyteOfStackAtMost() async throws {
    // A value and a list a level, and the innermost value: 99.
    let bytes = nestedLists(49)
    let encoding: [UInt8]? = await withCheckedContinuation { continuation in
      let thread = Thread {
        let value = try? GoogleProtobuf.Value(decoding: bytes)
        continuation.resume(returning: value.map { GoogleProtobuf.Value($0.json).encoded() })
      }
      thread.stackSize = 512 << 10
      thread.start()
    }
    #expect(encoding == bytes)
  }

  @Test func aMebibyteOfEmptySubmessagesIsRejected() throws {
    // children = 142
    let bytes = [[UInt8]](repeating: [0xF2, 0x08, 0], count: 350_000).flatMap(\.self)
    let error = try #require(failure(Everything.self, bytes))
    #expect(error.code == .invalidArgument)
    #expect(error.message.contains("100000"))
  }

  @Test func aSingularSubmessageGivenAgainAndAgainIsRejectedAtOnce() throws {
    // inner = 141 with a children of its own, 320 KB.
    let bytes = [[UInt8]](repeating: [0xEA, 0x08, 3, 0xF2, 0x08, 0], count: 53_000).flatMap(\.self)
    let error = failure(Everything.self, bytes)
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains("Everything.inner: is given too many times") == true)
  }

  @Test(
    arguments: [
      [0x80], [0xC0, 0xAF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
      [0xF8, 0x88, 0x80, 0x80, 0x80], [0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0xFF],
      [0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0xC3, 0x28],
    ] as [[UInt8]])
  func textThatIsNotUTF8IsRejected(text: [UInt8]) throws {
    // one_string = 14, one_bytes = 15
    let error = try #require(failure(Everything.self, [0x72, UInt8(text.count)] + text))
    #expect(error.code == .invalidArgument)
    #expect(error.message == "keelson.test.v1.Everything.one_string: is not valid UTF-8.")
    #expect(failure(Everything.self, [0x7A, UInt8(text.count)] + text) == nil)
  }

  @Test func everyScalarIsReadAsText() throws {
    var text = ""
    for value in stride(from: UInt32(0), to: 0x11_0000, by: 61) {
      if let scalar = Unicode.Scalar(value) { text.unicodeScalars.append(scalar) }
    }
    #expect(try Everything(decoding: Everything(oneString: text).encoded()).oneString == text)
  }

  @Test func groupsAndUnknownWireTypesAreRejected() {
    for tag: UInt8 in [0x0B, 0x0C, 0x0E, 0x0F] {
      #expect(failure(Everything.self, [tag])?.code == .invalidArgument)
    }
    // An unknown field's group: field 1000.
    #expect(failure(KeelsonTestV1.Leaf.self, [0xC3, 0x3E, 0xC4, 0x3E])?.code == .invalidArgument)
  }

  @Test(
    arguments: [
      [0x00, 0x00],  // field number 0
      [0x18, 0x80],  // ends inside a number
      [0x18] + [UInt8](repeating: 0xFF, count: 10) + [1],  // eleven bytes
      [0x09, 1, 2, 3],  // a double of three bytes
      [0x15, 1],  // a float of one byte
      [0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],  // length 2^64 - 1
      [0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],  // length 2^32 - 1
      [0x72, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],  // length 2^63
      [0x70, 1],  // a string as a number
      [0x1A, 1, 1],  // an int32 as bytes
      [0xCA, 0x02, 7, 0, 0, 0, 0, 0, 0, 0],  // packed doubles of seven bytes
      [0xDA, 0x02, 1, 0x80],  // packed numbers that end inside one
    ] as [[UInt8]])
  func malformedBytesAreRejected(bytes: [UInt8]) {
    #expect(failure(Everything.self, bytes)?.code == .invalidArgument)
  }

  @Test func eachLimitHolds() {
    let bytes = Everything.sample.encoded()
    var limits = DecodingLimits.standard
    limits.maximumBytes = bytes.count
    #expect(failure(Everything.self, bytes, limits: limits) == nil)
    limits.maximumBytes -= 1
    #expect(failure(Everything.self, bytes, limits: limits)?.code == .invalidArgument)
    let pair: [UInt8] = [0x18, 1, 0x18, 2]
    limits.maximumFields = 2
    #expect(failure(Everything.self, pair, limits: limits) == nil)
    limits.maximumFields = 1
    #expect(failure(Everything.self, pair, limits: limits)?.code == .invalidArgument)
  }

  @Test func aMessageCutAnywhereIsReadOrRejected() {
    let bytes = Everything.sample.encoded()
    for count in bytes.indices {
      if let error = failure(Everything.self, Array(bytes.prefix(count))) {
        #expect(error.code == .invalidArgument)
      }
    }
  }

  @Test func mutatedMessagesAreReadOrRejected() throws {
    var random = SeededGenerator(seed: 1)
    let original = Everything.sample.encoded()
    var rejected = 0
    for _ in 0..<3_000 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let index = Int.random(in: bytes.indices, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.remove(at: index)
        default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
        }
      }
      do throws(RPCError) {
        let message = try Everything(decoding: bytes)
        #expect(try Everything(decoding: message.encoded()).encoded() == message.encoded())
      } catch {
        #expect(error.code == .invalidArgument)
        rejected += 1
      }
    }
    #expect(rejected > 0 && rejected < 3_000)
  }
}
