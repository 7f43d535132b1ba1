import KeelsonAPI
import KeelsonTestMessages
import Testing

/// Against Python's protobuf, both ways.
@Suite struct CrossTests {
  private let peer = PythonPeer(message: Everything.fullName)

  @Test func randomMessagesFromPythonGoThroughUnchanged() throws {
    let encodings = try peer.run("random", "300", "1").map { [UInt8](hex: $0) }
    #expect(encodings.count == 300)
    var pairs: [String] = []
    for encoding in encodings {
      let message = try Everything(decoding: encoding)
      let again = message.encoded()
      #expect(try Everything(decoding: again) == message)
      pairs += [encoding.hex, again.hex]
      // The same through a message that knows none of the fields.
      let stranger = try KeelsonTestV1.Stranger(decoding: encoding)
      pairs += [encoding.hex, stranger.encoded().hex]
    }
    for line in try peer.run("compare", input: pairs) { #expect(line == "same") }
  }

  @Test func pythonReadsWhatSwiftWrites() throws {
    let json = try peer.run("json", input: [Everything.sample.encoded().hex])
    let expected = try peer.run("json", input: peer.run("encode", input: [Self.json]))
    #expect(json == expected)
  }

  @Test func swiftReadsWhatPythonWrites() throws {
    let encodings = try peer.run("encode", input: [Self.json])
    #expect(encodings.count == 1)
    for encoding in encodings {
      #expect(try Everything(decoding: [UInt8](hex: encoding)) == Everything.sample)
    }
  }

  /// ``Everything/sample`` in protobuf's JSON, written by hand.
  private static let json = #"""
    {"oneDouble": -0.0, "oneFloat": 1.5, "oneInt32": -2147483648,
    "oneInt64": "-9223372036854775808", "oneUint32": 4294967295,
    "oneUint64": "18446744073709551615", "oneSint32": -2147483648,
    "oneSint64": "-9223372036854775808", "oneFixed32": 4294967295,
    "oneFixed64": "18446744073709551615", "oneSfixed32": -2, "oneSfixed64": "-3", "oneBool": true,
    "oneString": "text with \u0000 and 😀", "oneBytes": "AP8A", "oneColor": "COLOR_NONE",
    "oneLeaf": {"name": "l\u0000f", "count": -7},
    "maybeDouble": 0, "maybeFloat": 0, "maybeInt32": 0, "maybeInt64": 0, "maybeUint32": 0,
    "maybeUint64": 0, "maybeSint32": 0, "maybeSint64": 0, "maybeFixed32": 0, "maybeFixed64": 0,
    "maybeSfixed32": 0, "maybeSfixed64": 0, "maybeBool": false, "maybeString": "",
    "maybeBytes": "", "maybeColor": 0, "maybeLeaf": {},
    "manyDouble": [0, -1.5], "manyFloat": [0, 2.5], "manyInt32": [0, -1, 2147483647],
    "manyInt64": [0, -1, "9223372036854775807"], "manyUint32": [0, 4294967295],
    "manyUint64": [0, "18446744073709551615"], "manySint32": [0, -1, -2147483648],
    "manySint64": [0, -1, "-9223372036854775808"], "manyFixed32": [1, 2], "manyFixed64": [3, 4],
    "manySfixed32": [-5], "manySfixed64": [-6], "manyBool": [false, true],
    "manyString": ["", "a", ""], "manyBytes": ["", "AQ==", ""],
    "manyColor": ["COLOR_RED", "COLOR_SCARLET", "COLOR_NONE"],
    "manyLeaf": [{"name": "l\u0000f", "count": -7}, {}],
    "unpackedDouble": [0, -1.5], "unpackedFloat": [0, 2.5], "unpackedInt32": [0, -1],
    "unpackedInt64": [0, -1], "unpackedUint32": [0, 1], "unpackedUint64": [0, 1],
    "unpackedSint32": [0, -1], "unpackedSint64": [0, -1], "unpackedFixed32": [1, 2],
    "unpackedFixed64": [3, 4], "unpackedSfixed32": [-5, 0], "unpackedSfixed64": [-6, 0],
    "unpackedBool": [false, true], "unpackedColor": ["COLOR_BLUE", 0],
    "choiceLeaf": {"name": "l\u0000f", "count": -7},
    "byInt32": {"-1": "a", "0": ""}, "byInt64": {"-9223372036854775808": "b"},
    "byUint32": {"4294967295": "c"}, "byUint64": {"18446744073709551615": "d"},
    "bySint32": {"-1": "e"}, "bySint64": {"-1": "f"}, "byFixed32": {"1": "g"},
    "byFixed64": {"2": "h"}, "bySfixed32": {"-3": "i"}, "bySfixed64": {"-4": "j"},
    "byBool": {"false": "no", "true": "yes"}, "byString": {"": "empty", "k": "v"},
    "mapDouble": {"a": 1.5}, "mapFloat": {"a": 0}, "mapInt32": {"a": -1}, "mapInt64": {"a": -1},
    "mapUint32": {"a": 1}, "mapUint64": {"a": 1}, "mapSint32": {"a": -1}, "mapSint64": {"a": -1},
    "mapFixed32": {"a": 1}, "mapFixed64": {"a": 1}, "mapSfixed32": {"a": -1},
    "mapSfixed64": {"a": -1}, "mapBool": {"a": true}, "mapString": {"a": "b"},
    "mapBytes": {"a": "AQ=="}, "mapColor": {"a": "COLOR_BLUE"},
    "mapLeaf": {"a": {"name": "l\u0000f", "count": -7}, "b": {}},
    "inner": {"oneInt32": 1, "inner": {"oneInt32": 2}}, "children": [{}, {"oneInt32": 3}],
    "tree": {"1": {"tree": {"2": {}}}}, "left": {"right": {"left": {}}},
    "knownAny": {"@type": "type.googleapis.com/keelson.test.v1.Leaf", "name": "l\u0000f",
    "count": -7},
    "knownDuration": "-1.5s", "knownEmpty": {}, "knownFieldmask": "a,b.c",
    "knownStruct": {"n": null, "b": true, "l": [1, "x", {}]}, "knownValue": 2.5,
    "knownListvalue": [null, {"a": []}], "knownTimestamp": "1969-12-31T23:59:59.999999Z",
    "knownDoublevalue": 0, "knownFloatvalue": 1.5, "knownInt64value": "-1",
    "knownUint64value": "1", "knownInt32value": -1, "knownUint32value": 1,
    "knownBoolvalue": false, "knownStringvalue": "", "knownBytesvalue": "AQ==", "last": 1}
    """#.split(separator: "\n").joined(separator: " ")
}
