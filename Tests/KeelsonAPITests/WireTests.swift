import KeelsonAPI
import KeelsonCore
import Testing

@Suite struct WireTests {
  @Test func aFlagGoesToTheWireAndBack() throws {
    let flag = KeelsonFlagsV1.Flag(
      key: "dark-mode", type: .boolean,
      variants: ["on": GoogleProtobuf.Value(true), "off": GoogleProtobuf.Value(false)],
      environments: ["production": KeelsonFlagsV1.FlagState(enabled: true, defaultVariant: "on")],
      tags: ["ui", ""], createTime: GoogleProtobuf.Timestamp(UnixTime(microseconds: -1)),
      revision: 7)
    #expect(try KeelsonFlagsV1.Flag(decoding: flag.encoded()) == flag)
  }
}
