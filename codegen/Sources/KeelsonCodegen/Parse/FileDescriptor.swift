/// One .proto file as protoc describes it. Source of the field numbers:
/// google/protobuf/descriptor.proto.
struct FileDescriptor {
  var name = ""
  var package = ""
  var dependencies: [String] = []
  var messages: [MessageDescriptor] = []
  var enums: [EnumDescriptor] = []
  var services: [ServiceDescriptor] = []
  var syntax = "proto2"
  var comments = Comments()

  /// The files of a serialized FileDescriptorSet, each after those it imports.
  static func parse(set bytes: [UInt8]) throws -> [FileDescriptor] {
    var files: [FileDescriptor] = []
    var reader = WireReader(bytes[...])
    while let (number, value) = try reader.next() {
      if number == 1 { files.append(try FileDescriptor(value.bytes)) }
    }
    return files
  }

  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 2: package = value.string
      case 3: dependencies.append(value.string)
      case 4: messages.append(try MessageDescriptor(value.bytes))
      case 5: enums.append(try EnumDescriptor(value.bytes))
      case 6: services.append(try ServiceDescriptor(value.bytes))
      case 9: comments = try Comments(sourceCodeInfo: value.bytes)
      case 12: syntax = value.string
      default: break
      }
    }
  }
}

struct MessageDescriptor {
  var name = ""
  var fields: [FieldDescriptor] = []
  var messages: [MessageDescriptor] = []
  var enums: [EnumDescriptor] = []
  var oneofs: [String] = []
  var isMapEntry = false

  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 2: fields.append(try FieldDescriptor(value.bytes))
      case 3: messages.append(try MessageDescriptor(value.bytes))
      case 4: enums.append(try EnumDescriptor(value.bytes))
      case 7:
        var options = WireReader(value.bytes)
        while let (number, value) = try options.next() {
          if number == 7 { isMapEntry = value.int != 0 }
        }
      case 8:
        var oneof = WireReader(value.bytes)
        while let (number, value) = try oneof.next() {
          if number == 1 { oneofs.append(value.string) }
        }
      default: break
      }
    }
  }
}

struct FieldDescriptor {
  /// The numbers of FieldDescriptorProto.Type.
  enum Kind: Int {
    case double = 1
    case float, int64, uint64, int32, fixed64, fixed32, bool, string, group, message, bytes
    case uint32, `enum`, sfixed32, sfixed64, sint32, sint64
  }

  var name = ""
  var number = 0
  var isRepeated = false
  var kind = Kind.int32
  /// The full name of a message's or enum's type, with a leading dot.
  var typeName = ""
  var oneofIndex: Int?
  /// Whether it has `optional` written before it, and its oneof was made up by protoc.
  var isProto3Optional = false
  /// What `[packed = …]` says.
  var packedOption: Bool?

  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 3: self.number = value.int
      case 4: isRepeated = value.int == 3
      case 5:
        guard let kind = Kind(rawValue: value.int) else {
          throw CodegenError("field \(name) has the unknown type \(value.int)")
        }
        self.kind = kind
      case 6: typeName = value.string
      case 8:
        var options = WireReader(value.bytes)
        while let (number, value) = try options.next() {
          if number == 2 { packedOption = value.int != 0 }
        }
      case 9: oneofIndex = value.int
      case 17: isProto3Optional = value.int != 0
      default: break
      }
    }
  }
}

struct EnumDescriptor {
  var name = ""
  var values: [(name: String, number: Int32)] = []

  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 2:
        var valueName = ""
        var valueNumber: Int32 = 0
        var fields = WireReader(value.bytes)
        while let (number, value) = try fields.next() {
          if number == 1 { valueName = value.string }
          if number == 2 { valueNumber = Int32(truncatingIfNeeded: value.int) }
        }
        values.append((valueName, valueNumber))
      default: break
      }
    }
  }
}

struct ServiceDescriptor {
  var name = ""
  var methods: [Method] = []

  struct Method {
    var name = ""
    var input = ""
    var output = ""
    var isClientStreaming = false
    var isServerStreaming = false
    var isIdempotent = false
  }

  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 2: methods.append(try Method(value.bytes))
      default: break
      }
    }
  }
}

extension ServiceDescriptor.Method {
  init(_ bytes: ArraySlice<UInt8>) throws {
    var reader = WireReader(bytes)
    while let (number, value) = try reader.next() {
      switch number {
      case 1: name = value.string
      case 2: input = value.string
      case 3: output = value.string
      case 4:
        var options = WireReader(value.bytes)
        while let (number, value) = try options.next() {
          // idempotency_level: 1 is NO_SIDE_EFFECTS, 2 is IDEMPOTENT.
          if number == 34 { isIdempotent = value.int != 0 }
        }
      case 5: isClientStreaming = value.int != 0
      case 6: isServerStreaming = value.int != 0
      default: break
      }
    }
  }
}
