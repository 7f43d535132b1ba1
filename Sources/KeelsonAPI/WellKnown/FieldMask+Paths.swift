extension GoogleProtobuf.FieldMask: ExpressibleByArrayLiteral {
  public init(arrayLiteral paths: String...) {
    self.init(paths: paths)
  }
}
