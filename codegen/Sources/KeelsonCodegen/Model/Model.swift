/// What the renderers need to know of one .proto file, names resolved.
struct FileModel {
  let name: String
  let package: String
  let namespace: String
  let messages: [MessageModel]
  let enums: [EnumModel]
  let services: [ServiceModel]
  /// The files it imports.
  let dependencies: [String]

  /// Its messages and theirs, map entries not among them, each before what nests in it.
  var allMessages: [MessageModel] { messages.flatMap(\.withNested) }
}

struct MessageModel {
  let fullName: String
  /// Its own name in Swift, and with all that it nests in.
  let swiftName: String
  let swiftPath: String
  let comment: [String]
  /// One for each field and oneof, in the order of the file.
  let properties: [PropertyModel]
  /// Every field by number, for the C table.
  let fields: [FieldModel]
  let messages: [MessageModel]
  let enums: [EnumModel]
  /// The entries of its maps: messages on the wire, but not in Swift.
  let mapEntries: [MessageModel]

  var cType: String { Names.cType(fullName) }
  var cPrefix: String { Names.cFunctionPrefix(fullName) }
  var withNested: [MessageModel] { [self] + messages.flatMap(\.withNested) }
}

struct FieldModel {
  let name: String
  let number: Int
  let kind: FieldDescriptor.Kind
  let isRepeated: Bool
  /// Its name in C.
  let cName: String
  /// The Swift type of one value.
  let swiftType: String
  /// The case with the number 0 of the enum that is its type.
  let zeroCase: String?
  /// The full name of the message that is its type.
  let messageName: String?
}

struct PropertyModel {
  enum Shape {
    /// A scalar without presence.
    case plain(FieldModel)
    /// A scalar with `optional`; in C a oneof of this name with this one field.
    case optional(FieldModel, cOneof: String)
    /// One message. Boxed when the message can reach itself through it.
    case message(FieldModel, isBoxed: Bool)
    case repeated(FieldModel)
    case map(FieldModel, key: FieldModel, value: FieldModel)
    case oneof(OneofModel)
  }

  let name: String
  /// The Swift type, with `?`, brackets and all.
  let type: String
  let comment: [String]
  let shape: Shape

  /// What it is before it is set.
  var initialValue: String {
    switch shape {
    case .plain(let field): field.zero
    case .optional, .message, .oneof: "nil"
    case .repeated: "[]"
    case .map: "[:]"
    }
  }
}

struct OneofModel {
  let swiftName: String
  let cName: String
  let comment: [String]
  /// Whether the message can reach itself through one of the members.
  let isIndirect: Bool
  let members: [Member]

  struct Member {
    let caseName: String
    let comment: [String]
    let field: FieldModel
  }
}

struct EnumModel {
  let swiftName: String
  let swiftPath: String
  let comment: [String]
  /// The first name of each number.
  let cases: [Case]
  /// Further names of numbers that have one.
  let aliases: [Alias]

  struct Case {
    let name: String
    let protoName: String
    let number: Int32
    let comment: [String]
  }

  struct Alias {
    let name: String
    let of: String
    let comment: [String]
  }
}

struct ServiceModel {
  let fullName: String
  let swiftName: String
  let comment: [String]
  let methods: [Method]

  struct Method {
    let protoName: String
    let swiftName: String
    let comment: [String]
    let input: String
    let output: String
    let isClientStreaming: Bool
    let isServerStreaming: Bool
    let isIdempotent: Bool
  }
}

extension FieldModel {
  /// The value of a field that was not sent.
  var zero: String {
    switch kind {
    case .string: "\"\""
    case .bytes: "[]"
    case .bool: "false"
    case .enum: ".\(zeroCase ?? "unrecognized(0)")"
    case .message, .group: "\(swiftType)()"
    default: "0"
    }
  }
}
