import KeelsonCore
import Testing

@Suite struct UUIDBitsTests {
  @Test(arguments: [
    "00000000-0000-0000-0000-000000000000", "01234567-89ab-cdef-fedc-ba9876543210",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
  ])
  func textAndBytesGoBothWays(text: String) throws {
    let bits = try #require(UUIDBits(text))
    #expect(bits.text == text)
    #expect(UUIDBits(text.uppercased()) == bits)
    #expect(UUIDBits(bits.bytes) == bits)
    var hex = bits.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    hex.removeAll { $0 == "-" }
    #expect(hex == text.filter { $0 != "-" })
  }

  @Test(arguments: [
    "", "0123", "01234567-89ab-cdef-fedc-ba987654321", "01234567-89ab-cdef-fedc-ba98765432100",
    "0123456789ab-cdef-fedc-ba9876543210-", "01234567-89ab-cdef-fedc-ba987654321g",
    "01234567089ab-cdef-fedc-ba987654321",
  ])
  func whatIsNoUUIDIsRefused(text: String) {
    #expect(UUIDBits(text) == nil)
  }

  @Test func bytesOfAnotherLengthAreRefused() {
    #expect(UUIDBits([UInt8](repeating: 1, count: 15)) == nil)
    #expect(UUIDBits([UInt8](repeating: 1, count: 17)) == nil)
  }

  @Test func theOrderIsThatOfTheTexts() {
    var generator = SystemRandomNumberGenerator()
    let some = (0..<200).map { _ in UUIDBits(high: generator.next(), low: generator.next()) }
    #expect(some.sorted().map(\.text) == some.map(\.text).sorted())
  }
}
