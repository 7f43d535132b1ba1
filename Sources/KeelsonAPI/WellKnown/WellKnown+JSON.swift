public import KeelsonCore

// The JSON forms of the well-known types. Source: protobuf's "ProtoJSON Format".

extension GoogleProtobuf.Timestamp {
  /// RFC 3339 in UTC; the parts as they are when they are no valid moment.
  public var json: JSONValue {
    if let time = try? unixTime { return .string(time.description) }
    return ["seconds": JSONValue(number: seconds), "nanos": JSONValue(number: nanos)]
  }
}

extension GoogleProtobuf.Duration {
  /// Seconds with an `s`, and 0, 3, 6 or 9 digits of their fraction, as few as say all of it: `3600s`
  /// or `1.500s`.
  public var json: JSONValue {
    let sign = seconds < 0 || nanos < 0 ? "-" : ""
    let digits = String(nanos.magnitude)
    var fraction = String(repeating: "0", count: max(0, 9 - digits.count)) + digits
    while fraction.hasSuffix("000") { fraction.removeLast(3) }
    if !fraction.isEmpty { fraction = ".\(fraction)" }
    return .string("\(sign)\(seconds.magnitude)\(fraction)s")
  }
}

extension GoogleProtobuf.Struct {
  public var json: JSONValue { .object(object) }
}

extension GoogleProtobuf.ListValue {
  public var json: JSONValue { .array(array) }
}

extension GoogleProtobuf.FieldMask {
  public var json: JSONValue { .string(paths.joined(separator: ",")) }
}

extension GoogleProtobuf.Empty {
  public var json: JSONValue { .object([:]) }
}

extension GoogleProtobuf.`Any` {
  /// The type and the encoded message: what it holds may be of a type unknown here.
  public var json: JSONValue {
    ["@type": .string(typeUrl), "value": JSONValue(base64: value)]
  }
}

extension GoogleProtobuf.DoubleValue {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.FloatValue {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.Int64Value {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.UInt64Value {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.Int32Value {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.UInt32Value {
  public var json: JSONValue { JSONValue(number: value) }
}
extension GoogleProtobuf.BoolValue {
  public var json: JSONValue { .bool(value) }
}
extension GoogleProtobuf.StringValue {
  public var json: JSONValue { .string(value) }
}
extension GoogleProtobuf.BytesValue {
  public var json: JSONValue { JSONValue(base64: value) }
}
