/// Resolves the names of parsed files and decides the Swift shape of everything in them.
struct ModelBuilder {
  private struct TypeEntry {
    let swiftPath: String
    var message: MessageDescriptor?
    var enumeration: EnumDescriptor?
  }

  /// Every message and enum by full name with a leading dot.
  private var types: [String: TypeEntry] = [:]
  /// The simple Swift names of all types, by namespace.
  private var simpleNames: [String: Set<String>] = [:]

  init(_ files: [FileDescriptor]) {
    for file in files {
      let namespace = Names.namespace(package: file.package)
      add(
        file.messages, file.enums, scope: file.package.isEmpty ? "" : ".\(file.package)",
        path: namespace, namespace: namespace)
    }
  }

  private mutating func add(
    _ messages: [MessageDescriptor], _ enums: [EnumDescriptor], scope: String, path: String,
    namespace: String
  ) {
    for type in enums {
      simpleNames[namespace, default: []].insert(type.name)
      types["\(scope).\(type.name)"] = TypeEntry(
        swiftPath: "\(path).\(Self.typeName(type.name))", enumeration: type)
    }
    for message in messages {
      simpleNames[namespace, default: []].insert(message.name)
      simpleNames[namespace, default: []].formUnion(message.oneofs.map(Names.upperCamel))
      let swiftPath = "\(path).\(Self.typeName(message.name))"
      types["\(scope).\(message.name)"] = TypeEntry(swiftPath: swiftPath, message: message)
      add(
        message.messages, message.enums, scope: "\(scope).\(message.name)", path: swiftPath,
        namespace: namespace)
    }
  }

  func build(_ file: FileDescriptor) throws -> FileModel {
    guard file.syntax == "proto3" else {
      throw CodegenError("\(file.name): only proto3 files can be generated; this is \(file.syntax)")
    }
    guard !file.package.isEmpty else {
      throw CodegenError("\(file.name): has no package; it becomes the namespace in Swift")
    }
    // Generated code uses these within the messages' own scope.
    for name in ["Arena", "Wire", "KeelsonAPI", "KeelsonCore", "Swift"]
    where simpleNames[Names.namespace(package: file.package)]?.contains(name) == true {
      throw CodegenError("\(file.name): \(name) cannot be the name of a type or oneof; rename it")
    }
    let scope = Scope(
      comments: comments(of: file), fullName: ".\(file.package)",
      swiftPath: Names.namespace(package: file.package),
      namespace: Names.namespace(package: file.package))
    let model = FileModel(
      name: file.name, package: file.package, namespace: scope.namespace,
      messages: try file.messages.enumerated().map {
        try message($1, in: scope, path: [4, $0])
      },
      enums: file.enums.enumerated().map { enumeration($1, in: scope, path: [5, $0]) },
      services: try file.services.enumerated().map { try service($1, in: scope, path: [6, $0]) },
      dependencies: file.dependencies)
    return model
  }

  /// The file's comments; for the well-known types, whose files are not ours, a line each.
  private func comments(of file: FileDescriptor) -> Comments {
    guard file.package == "google.protobuf" else { return file.comments }
    var comments = Comments()
    for (index, message) in file.messages.enumerated() {
      comments[[4, index]] = ["The well-known type `google.protobuf.\(message.name)`."]
    }
    return comments
  }

  /// Where in a file the builder is.
  private struct Scope {
    let comments: Comments
    let fullName: String
    let swiftPath: String
    let namespace: String
  }

  private func message(_ descriptor: MessageDescriptor, in outer: Scope, path: [Int]) throws
    -> MessageModel
  {
    let swiftName = Self.typeName(descriptor.name)
    let scope = Scope(
      comments: outer.comments, fullName: "\(outer.fullName).\(descriptor.name)",
      swiftPath: "\(outer.swiftPath).\(swiftName)", namespace: outer.namespace)
    var nested: [MessageModel] = []
    var mapEntries: [MessageModel] = []
    for (index, inner) in descriptor.messages.enumerated() {
      let model = try message(inner, in: scope, path: path + [3, index])
      if inner.isMapEntry { mapEntries.append(model) } else { nested.append(model) }
    }
    let fields = try descriptor.fields.map { try field($0, in: scope) }
    return MessageModel(
      fullName: String(scope.fullName.dropFirst()), swiftName: swiftName,
      swiftPath: scope.swiftPath, comment: outer.comments[path],
      properties: try properties(of: descriptor, fields, in: scope, path: path),
      fields: fields.sorted { $0.number < $1.number }, messages: nested,
      enums: descriptor.enums.enumerated().map {
        enumeration($1, in: scope, path: path + [4, $0])
      },
      mapEntries: mapEntries)
  }

  private func properties(
    of descriptor: MessageDescriptor, _ fields: [FieldModel], in scope: Scope, path: [Int]
  ) throws -> [PropertyModel] {
    var properties: [PropertyModel] = []
    var finishedOneofs: Set<Int> = []
    for (index, (field, model)) in zip(descriptor.fields, fields).enumerated() {
      let name = Self.propertyName(field.name)
      let comment = scope.comments[path + [2, index]]
      if let oneofIndex = field.oneofIndex, !field.isProto3Optional {
        guard finishedOneofs.insert(oneofIndex).inserted else { continue }
        let members = zip(descriptor.fields, fields).enumerated().compactMap {
          memberIndex, pair -> OneofModel.Member? in
          guard pair.0.oneofIndex == oneofIndex else { return nil }
          return OneofModel.Member(
            caseName: Names.escaped(Names.lowerCamel(pair.0.name)),
            comment: scope.comments[path + [2, memberIndex]], field: pair.1)
        }
        let oneofName = descriptor.oneofs[oneofIndex]
        var typeName = Self.typeName(Names.upperCamel(oneofName))
        let siblings = descriptor.messages.map(\.name) + descriptor.enums.map(\.name)
        if siblings.contains(typeName) { typeName += "Choice" }
        let oneof = OneofModel(
          swiftName: typeName,
          cName: LoweredDescriptorSet.cName(oneof: oneofIndex, of: descriptor),
          comment: scope.comments[path + [8, oneofIndex]],
          isIndirect: members.contains {
            isRecursive($0.field.messageName, reaching: scope.fullName)
          },
          members: members)
        properties.append(
          PropertyModel(
            name: Self.propertyName(oneofName), type: "\(typeName)?", comment: oneof.comment,
            shape: .oneof(oneof)))
        continue
      }
      let type = model.swiftType
      if field.isRepeated, let entry = types[field.typeName]?.message, entry.isMapEntry {
        let key = try self.field(entry.fields[0], in: scope)
        let value = try self.field(entry.fields[1], in: scope)
        properties.append(
          PropertyModel(
            name: name, type: "[\(key.swiftType): \(value.swiftType)]", comment: comment,
            shape: .map(model, key: key, value: value)))
      } else if field.isRepeated {
        properties.append(
          PropertyModel(name: name, type: "[\(type)]", comment: comment, shape: .repeated(model)))
      } else if field.kind == .message {
        let isBoxed = isRecursive(model.messageName, reaching: scope.fullName)
        properties.append(
          PropertyModel(
            name: name, type: "\(type)?", comment: comment,
            shape: .message(model, isBoxed: isBoxed)))
      } else if field.isProto3Optional, let oneofIndex = field.oneofIndex {
        properties.append(
          PropertyModel(
            name: name, type: "\(type)?", comment: comment,
            shape: .optional(
              model, cOneof: LoweredDescriptorSet.cName(oneof: oneofIndex, of: descriptor))))
      } else {
        properties.append(
          PropertyModel(name: name, type: type, comment: comment, shape: .plain(model)))
      }
    }
    return properties
  }

  /// Whether a message holds another, directly or through messages it holds, by value: arrays and
  /// dictionaries hold theirs by reference and so end the chain.
  private func isRecursive(_ messageName: String?, reaching target: String) -> Bool {
    guard let messageName else { return false }
    var visited: Set<String> = []
    var pending = [".\(messageName)"]
    while let name = pending.popLast() {
      if name == target { return true }
      guard visited.insert(name).inserted, let message = types[name]?.message else { continue }
      for field in message.fields where field.kind == .message && !field.isRepeated {
        pending.append(field.typeName)
      }
    }
    return false
  }

  private func field(_ field: FieldDescriptor, in scope: Scope) throws -> FieldModel {
    let swiftType: String
    switch field.kind {
    case .double: swiftType = builtin("Double", in: scope)
    case .float: swiftType = builtin("Float", in: scope)
    case .int64, .sfixed64, .sint64: swiftType = builtin("Int64", in: scope)
    case .uint64, .fixed64: swiftType = builtin("UInt64", in: scope)
    case .int32, .sfixed32, .sint32: swiftType = builtin("Int32", in: scope)
    case .uint32, .fixed32: swiftType = builtin("UInt32", in: scope)
    case .bool: swiftType = builtin("Bool", in: scope)
    case .string: swiftType = builtin("String", in: scope)
    case .bytes: swiftType = "[\(builtin("UInt8", in: scope))]"
    case .message, .enum: swiftType = try path(of: field.typeName)
    case .group:
      throw CodegenError("\(scope.fullName).\(field.name): groups cannot be generated")
    }
    return FieldModel(
      name: field.name, number: field.number, kind: field.kind, isRepeated: field.isRepeated,
      cName: LoweredDescriptorSet.cName(field), swiftType: swiftType,
      zeroCase: types[field.typeName]?.enumeration.flatMap {
        values(of: $0) { _ in [] }.cases.first { $0.number == 0 }?.name
      },
      messageName: field.kind == .message ? String(field.typeName.dropFirst()) : nil)
  }

  private func enumeration(_ descriptor: EnumDescriptor, in scope: Scope, path: [Int])
    -> EnumModel
  {
    let swiftName = Self.typeName(descriptor.name)
    let (cases, aliases) = values(of: descriptor) { scope.comments[path + [2, $0]] }
    return EnumModel(
      swiftName: swiftName, swiftPath: "\(scope.swiftPath).\(swiftName)",
      comment: scope.comments[path], cases: cases, aliases: aliases)
  }

  /// The cases of an enum, and second names of numbers that have one.
  private func values(of descriptor: EnumDescriptor, comment: (_ index: Int) -> [String])
    -> (cases: [EnumModel.Case], aliases: [EnumModel.Alias])
  {
    let prefix = Names.enumPrefix(descriptor.name)
    let canStrip = descriptor.values.allSatisfy { $0.name.hasPrefix(prefix) && $0.name != prefix }
    var cases: [EnumModel.Case] = []
    var aliases: [EnumModel.Alias] = []
    for (index, value) in descriptor.values.enumerated() {
      let stripped = canStrip ? String(value.name.dropFirst(prefix.count)) : value.name
      var name = Names.escaped(Names.enumCase(stripped))
      if Self.takenCaseNames.contains(name) { name += "_" }
      if let first = cases.first(where: { $0.number == value.number }) {
        if first.name != name {
          aliases.append(EnumModel.Alias(name: name, of: first.name, comment: comment(index)))
        }
      } else {
        cases.append(
          EnumModel.Case(
            name: name, protoName: value.name, number: value.number, comment: comment(index)))
      }
    }
    return (cases, aliases)
  }

  /// What every enum has; and `none`, which as the value of an optional would mean nil.
  private static let takenCaseNames: Set = [
    "unrecognized", "rawValue", "allCases", "name", "json", "none", "some",
  ]

  private func service(_ descriptor: ServiceDescriptor, in scope: Scope, path: [Int]) throws
    -> ServiceModel
  {
    ServiceModel(
      fullName: "\(scope.fullName.dropFirst()).\(descriptor.name)", swiftName: descriptor.name,
      comment: scope.comments[path],
      methods: try descriptor.methods.enumerated().map { index, method in
        ServiceModel.Method(
          protoName: method.name, swiftName: Names.escaped(Names.lowerCamel(method.name)),
          comment: scope.comments[path + [2, index]],
          input: try self.path(of: method.input), output: try self.path(of: method.output),
          isClientStreaming: method.isClientStreaming,
          isServerStreaming: method.isServerStreaming, isIdempotent: method.isIdempotent)
      })
  }

  private func path(of typeName: String) throws -> String {
    guard let entry = types[typeName] else {
      throw CodegenError("the type \(typeName) is not among the given files")
    }
    return entry.swiftPath
  }

  /// A type of the standard library, written in full where the package has one of that name.
  private func builtin(_ name: String, in scope: Scope) -> String {
    simpleNames[scope.namespace]?.contains(name) == true ? "Swift.\(name)" : name
  }

  private static func typeName(_ name: String) -> String {
    ["Type", "Protocol", "Self"].contains(name) ? "\(name)_" : Names.escaped(name)
  }

  /// A property's name, clear of what every message has.
  private static func propertyName(_ name: String) -> String {
    let camel = Names.lowerCamel(name)
    let taken = ["self", "unknownFields", "encoded", "hashValue", "hash", "wireTable"]
    return taken.contains(camel) ? "\(camel)_" : Names.escaped(camel)
  }
}
