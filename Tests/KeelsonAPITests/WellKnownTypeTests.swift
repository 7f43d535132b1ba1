import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages
import Testing

@Suite struct WellKnownTypeTests {
  @Test(
    arguments: [
      0, 1, -1, 999_999, -999_999, 1_000_000, -1_000_000, 1_795_000_000_123_456,
      -62_135_596_800_000_000, 253_402_300_799_999_999,
    ] as [Int64])
  func aMomentComesBack(microseconds: Int64) throws {
    let timestamp = GoogleProtobuf.Timestamp(UnixTime(microseconds: microseconds))
    #expect((0...999_999_999).contains(timestamp.nanos))
    #expect(try timestamp.unixTime.microseconds == microseconds)
  }

  @Test func momentsOutsideOfYears1To9999AreClampedOrRejected() throws {
    let latest = GoogleProtobuf.Timestamp(UnixTime(microseconds: .max))
    #expect(latest == GoogleProtobuf.Timestamp(seconds: 253_402_300_799, nanos: 999_999_999))
    let earliest = GoogleProtobuf.Timestamp(UnixTime(microseconds: .min))
    #expect(earliest == GoogleProtobuf.Timestamp(seconds: -62_135_596_800))
    for (seconds, nanos): (Int64, Int32) in [
      (.max, 0), (.min, 0), (253_402_300_800, 0), (-62_135_596_801, 0), (0, -1),
      (0, 1_000_000_000),
    ] {
      #expect(throws: RPCError.self) {
        try GoogleProtobuf.Timestamp(seconds: seconds, nanos: nanos).unixTime
      }
    }
  }

  @Test func durationsComeBackOrAreRejected() throws {
    for duration: Swift.Duration in [.zero, .nanoseconds(1), .milliseconds(-1500), .seconds(9)] {
      #expect(try GoogleProtobuf.Duration(duration).duration == duration)
    }
    let endless = GoogleProtobuf.Duration(.seconds(Int64.max))
    #expect(endless.seconds == 315_576_000_000)
    for (seconds, nanos): (Int64, Int32) in [
      (.max, 0), (.min, 0), (1, -1), (-1, 1), (0, 1_000_000_000), (0, .min),
    ] {
      let duration = GoogleProtobuf.Duration(seconds: seconds, nanos: nanos)
      #expect(throws: RPCError.self) { try duration.duration }
      _ = duration.clampedDuration
    }
  }

  /// Source: protobuf's "ProtoJSON Format": 0, 3, 6 or 9 digits.
  @Test(
    arguments: [
      (3_600, 0, "3600s"), (0, 0, "0s"), (1, 500_000_000, "1.500s"), (0, 1_000, "0.000001s"),
      (-1, -20_000_000, "-1.020s"), (0, -1, "-0.000000001s"), (9, 123_456_000, "9.123456s"),
    ] as [(Int64, Int32, String)])
  func aDurationIsWrittenWithAsFewDigitsAsItHas(seconds: Int64, nanos: Int32, text: String) {
    #expect(GoogleProtobuf.Duration(seconds: seconds, nanos: nanos).json == .string(text))
  }

  @Test func jsonComesBack() throws {
    let json: JSONValue = [
      "null": .null, "bool": true, "number": 1.5, "text": "t", "list": [1, "a", [], [:]],
      "object": ["inner": ["deep": 1]],
    ]
    let value = GoogleProtobuf.Value(json)
    #expect(try GoogleProtobuf.Value(decoding: value.encoded()).json == json)
    #expect(GoogleProtobuf.Value().json == .null)
    #expect(GoogleProtobuf.Struct(["a": 1]).object == ["a": 1])
    #expect(GoogleProtobuf.ListValue(["a", .null]).array == ["a", .null])
  }

  @Test func anAnyHoldsOneTypeOfMessage() throws {
    let leaf = KeelsonTestV1.Leaf(name: "n")
    let any = GoogleProtobuf.`Any`(packing: leaf)
    #expect(any.typeUrl == "type.googleapis.com/keelson.test.v1.Leaf")
    #expect(try any.unpack(as: KeelsonTestV1.Leaf.self) == leaf)
    #expect(!any.holds(Everything.self))
    #expect(throws: RPCError.self) { try any.unpack(as: Everything.self) }
    let elsewhere = GoogleProtobuf.`Any`(typeUrl: "x/y/keelson.test.v1.Leaf", value: [0xFF])
    #expect(elsewhere.holds(KeelsonTestV1.Leaf.self))
    #expect(throws: RPCError.self) { try elsewhere.unpack(as: KeelsonTestV1.Leaf.self) }
    #expect(!GoogleProtobuf.`Any`(typeUrl: "keelson.test.v1.Leaf").holds(KeelsonTestV1.Leaf.self))
  }

  @Test func wrappersAndMasksHaveLiterals() {
    let mask: GoogleProtobuf.FieldMask = ["a", "b"]
    #expect(mask.paths == ["a", "b"])
    #expect(GoogleProtobuf.StringValue("a") == "a")
    #expect(GoogleProtobuf.Int64Value(3).value == 3)
  }
}
