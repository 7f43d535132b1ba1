/// The custom metadata of a call: names with values, in order, a name may stand several times.
///
/// Names are lower case. A name that ends in `-bin` holds bytes; all others hold printable ASCII.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Custom-Metadata".
public struct Metadata: Sendable, Hashable {
  /// One name with its value.
  public struct Entry: Sendable, Hashable {
    public let name: String
    public let value: Content

    public init(name: String, value: Content) {
      self.name = name
      self.value = value
    }
  }

  /// A value: text, or for names that end in `-bin` bytes.
  public enum Content: Sendable, Hashable {
    case string(String)
    case binary([UInt8])
  }

  /// The entries in the order they were added or received.
  public private(set) var entries: [Entry]

  public init() {
    entries = []
  }

  public var isEmpty: Bool { entries.isEmpty }

  /// Adds text under a name, after what stands under it already.
  public mutating func add(_ name: String, _ value: String) {
    entries.append(Entry(name: Self.normalized(name), value: .string(value)))
  }

  /// Adds bytes under a name, which must end in `-bin`.
  public mutating func add(_ name: String, binary value: [UInt8]) {
    entries.append(Entry(name: Self.normalized(name), value: .binary(value)))
  }

  /// Adds an entry whose name is known to be lower case.
  package mutating func append(_ entry: Entry) {
    entries.append(entry)
  }

  /// Takes away all values of a name.
  public mutating func remove(_ name: String) {
    let name = Self.normalized(name)
    entries.removeAll { $0.name == name }
  }

  /// The first text under a name.
  public subscript(_ name: String) -> String? {
    for entry in entries where entry.name == name {
      if case .string(let value) = entry.value { return value }
    }
    return nil
  }

  /// The first bytes under a name.
  public subscript(binary name: String) -> [UInt8]? {
    for entry in entries where entry.name == name {
      if case .binary(let value) = entry.value { return value }
    }
    return nil
  }

  private static func normalized(_ name: String) -> String {
    name.utf8.contains { $0 >= 0x41 && $0 <= 0x5A } ? name.lowercased() : name
  }
}

extension Metadata: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, String)...) {
    self.init()
    for (name, value) in elements { add(name, value) }
  }
}
