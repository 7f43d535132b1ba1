import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages
import Testing

@Suite struct RoundTripTests {
  @Test func aMessageWithEveryFieldComesBackEqual() throws {
    let bytes = Everything.sample.encoded()
    let decoded = try Everything(decoding: bytes)
    #expect(decoded == Everything.sample)
    #expect(decoded.oneDouble.sign == .minus)
    #expect(decoded.encoded() == bytes)
  }

  @Test func eachMemberOfAOneofComesBackEvenWhenZero() throws {
    let choices: [Everything.Choice] = [
      .choiceDouble(0), .choiceFloat(0), .choiceInt32(0), .choiceInt64(0), .choiceUint32(0),
      .choiceUint64(0), .choiceSint32(0), .choiceSint64(0), .choiceFixed32(0), .choiceFixed64(0),
      .choiceSfixed32(0), .choiceSfixed64(0), .choiceBool(false), .choiceString(""),
      .choiceBytes([]), .choiceColor(.unspecified), .choiceLeaf(KeelsonTestV1.Leaf()),
    ]
    for choice in choices {
      let message = Everything(choice: choice)
      #expect(!message.encoded().isEmpty)
      #expect(try Everything(decoding: message.encoded()) == message)
    }
  }

  @Test func bytesOfEachSizeComeBackEqualWhereverTheyStand() throws {
    for size in [1, 1_023, 1_024, 1_025, 100_000] {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      var message = Everything(oneBytes: bytes, manyBytes: [bytes, [], bytes.reversed()])
      message.maybeBytes = bytes
      message.choice = .choiceBytes(bytes)
      message.mapBytes = ["a": bytes, "b": bytes.reversed()]
      #expect(try Everything(decoding: message.encoded()) == message, "\(size) bytes")
      #expect(try Everything(decoding: Everything(oneBytes: bytes).encoded()).oneBytes == bytes)
    }
  }

  @Test func anEmptyMessageHasAnEmptyEncoding() throws {
    #expect(Everything().encoded() == [])
    #expect(try Everything(decoding: []) == Everything())
  }

  @Test func aNumberWithoutANameInAnEnumIsKept() throws {
    let message = Everything(oneColor: .unrecognized(77), manyColor: [.unrecognized(-5), .red])
    let decoded = try Everything(decoding: message.encoded())
    #expect(decoded.oneColor == .unrecognized(77))
    #expect(decoded.manyColor.map(\.rawValue) == [-5, 1])
    #expect(KeelsonTestV1.Color(rawValue: 2) == .blue)
    #expect(KeelsonTestV1.Color.scarlet == .red)
  }

  @Test func unknownFieldsSurvive() throws {
    let bytes = Everything.sample.encoded()
    var stranger = try KeelsonTestV1.Stranger(decoding: bytes)
    #expect(!stranger.unknownFields.isEmpty)
    #expect(try Everything(decoding: stranger.encoded()) == Everything.sample)
    stranger.own = "mine"
    let back = try KeelsonTestV1.Stranger(decoding: stranger.encoded())
    #expect(back == stranger)
  }

  @Test func theLastOfSeveralEntriesWithOneKeyCounts() throws {
    let first = Everything(byString: ["k": "first"]).encoded()
    let second = Everything(byString: ["k": "second"]).encoded()
    #expect(try Everything(decoding: first + second).byString == ["k": "second"])
  }

  @Test func anEntryWithoutValueHasTheZeroValue() throws {
    // map_leaf = 137, one entry with key "a" alone; map_string = 134, an entry of nothing.
    let bytes: [UInt8] = [0xCA, 0x08, 3, 0x0A, 1, 0x61, 0xB2, 0x08, 0]
    let message = try Everything(decoding: bytes)
    #expect(message.mapLeaf == ["a": KeelsonTestV1.Leaf()])
    #expect(message.mapString == ["": ""])
  }

  @Test func packedAndUnpackedNumbersAreBothRead() throws {
    // many_int32 = 43, unpacked_int32 = 63: each in the other's form.
    let bytes: [UInt8] = [0xD8, 0x02, 1, 0xD8, 0x02, 2, 0xFA, 0x03, 2, 3, 4]
    let message = try Everything(decoding: bytes)
    #expect(message.manyInt32 == [1, 2])
    #expect(message.unpackedInt32 == [3, 4])
  }

  @Test func aRepeatedSingularMessageMerges() throws {
    let first = Everything(oneLeaf: KeelsonTestV1.Leaf(name: "a", count: 1)).encoded()
    let second = Everything(oneLeaf: KeelsonTestV1.Leaf(count: 2)).encoded()
    let merged = try Everything(decoding: first + second)
    #expect(merged.oneLeaf == KeelsonTestV1.Leaf(name: "a", count: 2))
  }

  @Test func theLastMemberOfAOneofCounts() throws {
    let leaf = Everything(choice: .choiceLeaf(KeelsonTestV1.Leaf(name: "a"))).encoded()
    let text = Everything(choice: .choiceString("b")).encoded()
    #expect(try Everything(decoding: leaf + text).choice == .choiceString("b"))
    #expect(
      try Everything(decoding: text + leaf).choice == .choiceLeaf(KeelsonTestV1.Leaf(name: "a")))
    #expect(try Everything(decoding: leaf + text + leaf).choice != .choiceString("b"))
  }

  @Test func equalMapsHaveEqualEncodings() {
    let names = (0..<100).map { "k\($0)" }
    let one = Everything(byString: Dictionary(names.map { ($0, $0) }) { $1 })
    let other = Everything(byString: Dictionary(names.reversed().map { ($0, $0) }) { $1 })
    #expect(one.encoded() == other.encoded())
  }

  @Test func namesThatClashAreStillUsable() throws {
    var names = KeelsonTestV1.Names(default: "d", in: "i", self_: "s", type: .init(kind: .default))
    names.kind = .class("c")
    names.me = KeelsonTestV1.Names.Self_(init: true)
    names.text = KeelsonTestV1.String(string: "t")
    #expect(try KeelsonTestV1.Names(decoding: names.encoded()) == names)
    let channel = KeelsonTestV1.Channel(box: .init(box: .init()), float: .number(0))
    #expect(try KeelsonTestV1.Channel(decoding: channel.encoded()) == channel)
    let message = KeelsonTestV1.Message(message: KeelsonTestV1.Message())
    #expect(try KeelsonTestV1.Message(decoding: message.encoded()) == message)
  }

  @Test func aLargeMessageNeedsSeveralArenaBlocks() throws {
    let leaves = (0..<20_000).map {
      KeelsonTestV1.Leaf(name: String(repeating: "x", count: $0 % 50), count: Int32($0))
    }
    let message = Everything(oneBytes: [UInt8](repeating: 1, count: 9 << 20), manyLeaf: leaves)
    #expect(try Everything(decoding: message.encoded()) == message)
  }

  @Test func theEmbeddedDescriptorsNameEveryFile() {
    let text = String(decoding: FileDescriptors.serializedSet, as: UTF8.self)
    for name in ["keelson/flags/v1/flags.proto", "grpc/health/v1/health.proto"] {
      #expect(text.contains(name))
    }
  }
}
