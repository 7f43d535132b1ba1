import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

typealias Everything = KeelsonTestV1.Everything

extension KeelsonTestV1.Everything {
  /// A message with every field set to something of its own.
  static var sample: Everything {
    var all = Everything()
    let leaf = KeelsonTestV1.Leaf(name: "l\0f", count: -7)
    all.oneDouble = -0.0
    all.oneFloat = 1.5
    all.oneInt32 = .min
    all.oneInt64 = .min
    all.oneUint32 = .max
    all.oneUint64 = .max
    all.oneSint32 = .min
    all.oneSint64 = .min
    all.oneFixed32 = .max
    all.oneFixed64 = .max
    all.oneSfixed32 = -2
    all.oneSfixed64 = -3
    all.oneBool = true
    all.oneString = "text with \0 and 😀"
    all.oneBytes = [0, 255, 0]
    all.oneColor = .none_
    all.oneLeaf = leaf

    // Present, though zero.
    all.maybeDouble = 0
    all.maybeFloat = 0
    all.maybeInt32 = 0
    all.maybeInt64 = 0
    all.maybeUint32 = 0
    all.maybeUint64 = 0
    all.maybeSint32 = 0
    all.maybeSint64 = 0
    all.maybeFixed32 = 0
    all.maybeFixed64 = 0
    all.maybeSfixed32 = 0
    all.maybeSfixed64 = 0
    all.maybeBool = false
    all.maybeString = ""
    all.maybeBytes = []
    all.maybeColor = .unspecified
    all.maybeLeaf = KeelsonTestV1.Leaf()

    all.manyDouble = [0, -1.5]
    all.manyFloat = [0, 2.5]
    all.manyInt32 = [0, -1, .max]
    all.manyInt64 = [0, -1, .max]
    all.manyUint32 = [0, .max]
    all.manyUint64 = [0, .max]
    all.manySint32 = [0, -1, .min]
    all.manySint64 = [0, -1, .min]
    all.manyFixed32 = [1, 2]
    all.manyFixed64 = [3, 4]
    all.manySfixed32 = [-5]
    all.manySfixed64 = [-6]
    all.manyBool = [false, true]
    all.manyString = ["", "a", ""]
    all.manyBytes = [[], [1], []]
    all.manyColor = [.red, .scarlet, .none_]
    all.manyLeaf = [leaf, KeelsonTestV1.Leaf()]

    all.unpackedDouble = [0, -1.5]
    all.unpackedFloat = [0, 2.5]
    all.unpackedInt32 = [0, -1]
    all.unpackedInt64 = [0, -1]
    all.unpackedUint32 = [0, 1]
    all.unpackedUint64 = [0, 1]
    all.unpackedSint32 = [0, -1]
    all.unpackedSint64 = [0, -1]
    all.unpackedFixed32 = [1, 2]
    all.unpackedFixed64 = [3, 4]
    all.unpackedSfixed32 = [-5, 0]
    all.unpackedSfixed64 = [-6, 0]
    all.unpackedBool = [false, true]
    all.unpackedColor = [.blue, .unspecified]

    all.choice = .choiceLeaf(leaf)

    all.byInt32 = [-1: "a", 0: ""]
    all.byInt64 = [.min: "b"]
    all.byUint32 = [.max: "c"]
    all.byUint64 = [.max: "d"]
    all.bySint32 = [-1: "e"]
    all.bySint64 = [-1: "f"]
    all.byFixed32 = [1: "g"]
    all.byFixed64 = [2: "h"]
    all.bySfixed32 = [-3: "i"]
    all.bySfixed64 = [-4: "j"]
    all.byBool = [false: "no", true: "yes"]
    all.byString = ["": "empty", "k": "v"]

    all.mapDouble = ["a": 1.5]
    all.mapFloat = ["a": 0]
    all.mapInt32 = ["a": -1]
    all.mapInt64 = ["a": -1]
    all.mapUint32 = ["a": 1]
    all.mapUint64 = ["a": 1]
    all.mapSint32 = ["a": -1]
    all.mapSint64 = ["a": -1]
    all.mapFixed32 = ["a": 1]
    all.mapFixed64 = ["a": 1]
    all.mapSfixed32 = ["a": -1]
    all.mapSfixed64 = ["a": -1]
    all.mapBool = ["a": true]
    all.mapString = ["a": "b"]
    all.mapBytes = ["a": [1]]
    all.mapColor = ["a": .blue]
    all.mapLeaf = ["a": leaf, "b": KeelsonTestV1.Leaf()]

    all.inner = Everything(oneInt32: 1, inner: Everything(oneInt32: 2))
    all.children = [Everything(), Everything(oneInt32: 3)]
    all.tree = [1: Everything(tree: [2: Everything()])]
    all.left = KeelsonTestV1.Left(
      right: KeelsonTestV1.Right(back: .left(KeelsonTestV1.Left())))

    all.knownAny = GoogleProtobuf.`Any`(packing: leaf)
    all.knownDuration = GoogleProtobuf.Duration(.milliseconds(-1500))
    all.knownEmpty = GoogleProtobuf.Empty()
    all.knownFieldmask = ["a", "b.c"]
    all.knownStruct = GoogleProtobuf.Struct(["n": .null, "b": true, "l": [1, "x", [:]]])
    all.knownValue = GoogleProtobuf.Value(2.5)
    all.knownListvalue = GoogleProtobuf.ListValue([.null, .object(["a": .array([])])])
    all.knownTimestamp = GoogleProtobuf.Timestamp(UnixTime(microseconds: -1))
    all.knownDoublevalue = 0.0
    all.knownFloatvalue = 1.5
    all.knownInt64value = -1
    all.knownUint64value = 1
    all.knownInt32value = -1
    all.knownUint32value = 1
    all.knownBoolvalue = false
    all.knownStringvalue = ""
    all.knownBytesvalue = GoogleProtobuf.BytesValue([1])
    all.last = 1
    return all
  }
}
