/// A message that stands for one scalar, so that it can be absent.
public protocol ScalarWrapper: Message {
  associatedtype Value
  var value: Value { get set }
}

extension ScalarWrapper {
  public init(_ value: Value) {
    self.init()
    self.value = value
  }
}

extension GoogleProtobuf.DoubleValue: ScalarWrapper, ExpressibleByFloatLiteral {
  public init(floatLiteral value: Double) { self.init(value) }
}
extension GoogleProtobuf.FloatValue: ScalarWrapper, ExpressibleByFloatLiteral {
  public init(floatLiteral value: Float) { self.init(value) }
}
extension GoogleProtobuf.Int64Value: ScalarWrapper, ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int64) { self.init(value) }
}
extension GoogleProtobuf.UInt64Value: ScalarWrapper, ExpressibleByIntegerLiteral {
  public init(integerLiteral value: UInt64) { self.init(value) }
}
extension GoogleProtobuf.Int32Value: ScalarWrapper, ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int32) { self.init(value) }
}
extension GoogleProtobuf.UInt32Value: ScalarWrapper, ExpressibleByIntegerLiteral {
  public init(integerLiteral value: UInt32) { self.init(value) }
}
extension GoogleProtobuf.BoolValue: ScalarWrapper, ExpressibleByBooleanLiteral {
  public init(booleanLiteral value: Bool) { self.init(value) }
}
extension GoogleProtobuf.StringValue: ScalarWrapper, ExpressibleByStringLiteral {
  public init(stringLiteral value: String) { self.init(value) }
}
extension GoogleProtobuf.BytesValue: ScalarWrapper {}
