/// The fields of a decoded message that its definition here does not have. They are encoded again
/// after the known ones, so a message passes unharmed through a program older than its sender.
public struct UnknownFields: Sendable, Hashable {
  /// One field as it came.
  package struct Field: Sendable, Hashable {
    package var number: UInt32
    /// The wire type: 0, 1, 2 or 5.
    package var wireType: UInt8
    /// All after the tag, the length included where there is one.
    package var bytes: [UInt8]

    package init(number: UInt32, wireType: UInt8, bytes: [UInt8]) {
      self.number = number
      self.wireType = wireType
      self.bytes = bytes
    }
  }

  package var fields: [Field]

  public init() {
    fields = []
  }

  package init(_ fields: [Field]) {
    self.fields = fields
  }

  public var isEmpty: Bool { fields.isEmpty }
}
