public import KeelsonCore

extension GoogleProtobuf.Value {
  public init(_ json: JSONValue) {
    switch json {
    case .null: self.init(kind: .nullValue(.nullValue))
    case .bool(let value): self.init(kind: .boolValue(value))
    case .number(let value): self.init(kind: .numberValue(value))
    case .string(let value): self.init(kind: .stringValue(value))
    case .array(let values): self.init(kind: .listValue(GoogleProtobuf.ListValue(values)))
    case .object(let members): self.init(kind: .structValue(GoogleProtobuf.Struct(members)))
    }
  }

  /// The value as JSON; null when no kind is set.
  public var json: JSONValue {
    switch kind {
    case nil, .nullValue: .null
    case .boolValue(let value): .bool(value)
    case .numberValue(let value): .number(value)
    case .stringValue(let value): .string(value)
    case .listValue(let list): .array(list.array)
    case .structValue(let members): .object(members.object)
    }
  }
}

extension GoogleProtobuf.Struct {
  public init(_ object: [String: JSONValue]) {
    self.init(fields: object.mapValues { GoogleProtobuf.Value($0) })
  }

  /// The members as JSON.
  public var object: [String: JSONValue] { fields.mapValues(\.json) }
}

extension GoogleProtobuf.ListValue {
  public init(_ array: [JSONValue]) {
    self.init(values: array.map { GoogleProtobuf.Value($0) })
  }

  /// The elements as JSON.
  public var array: [JSONValue] { values.map(\.json) }
}
