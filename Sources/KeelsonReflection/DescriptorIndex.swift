package import KeelsonCore

/// The files of a `google.protobuf.FileDescriptorSet`, found by their names and by what they
/// define. Source of the field numbers: google/protobuf/descriptor.proto.
package struct DescriptorIndex: Sendable {
  /// One .proto file.
  private struct File {
    /// The serialized FileDescriptorProto.
    let bytes: [UInt8]
    var dependencies: [String] = []
  }

  private struct Extension: Hashable {
    let extendee: String
    let number: Int32
  }

  private var files: [File] = []
  private var filesByName: [String: Int] = [:]
  /// By full name.
  private var filesBySymbol: [String: Int] = [:]
  private var filesByExtension: [Extension: Int] = [:]
  private var extensionNumbers: [String: [Int32]] = [:]
  private var messages: Set<String> = []

  /// - Throws: ``RPCError`` with code INTERNAL when the bytes are no FileDescriptorSet.
  package init(serializedSet bytes: [UInt8]) throws(RPCError) {
    var set = DescriptorReader(bytes[...])
    while let (number, content) = try set.next() {
      if number == 1 { try addFile(content.bytes) }
    }
  }

  // MARK: Finding

  /// A file and all it imports, directly or not, each once, serialized; the file is the first.
  package func file(named name: String) -> [[UInt8]]? {
    filesByName[name].map(withDependencies)
  }

  /// The file that defines a symbol, with all it imports.
  ///
  /// - Parameter symbol: the full name of a service, method, message, field, oneof, enum, enum
  ///   value or extension.
  package func file(containing symbol: String) -> [[UInt8]]? {
    filesBySymbol[symbol].map(withDependencies)
  }

  /// The file that defines an extension, with all it imports.
  package func file(containingExtension number: Int32, of message: String) -> [[UInt8]]? {
    filesByExtension[Extension(extendee: message, number: number)].map(withDependencies)
  }

  /// The numbers of all extensions of a message, ascending; nil when there is no such message.
  package func extensionNumbers(of message: String) -> [Int32]? {
    guard messages.contains(message) else { return nil }
    return extensionNumbers[message]?.sorted() ?? []
  }

  private func withDependencies(_ file: Int) -> [[UInt8]] {
    var found = [file]
    var next = 0
    while next < found.count {
      for name in files[found[next]].dependencies {
        if let file = filesByName[name], !found.contains(file) { found.append(file) }
      }
      next += 1
    }
    return found.map { files[$0].bytes }
  }

  // MARK: Building

  private mutating func addFile(_ bytes: ArraySlice<UInt8>) throws(RPCError) {
    let file = files.count
    files.append(File(bytes: Array(bytes)))
    // The package may stand behind what is in it.
    var package = ""
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      switch number {
      case 1: filesByName[content.string] = file
      case 2: package = content.string
      case 3: files[file].dependencies.append(content.string)
      default: break
      }
    }
    fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      switch number {
      case 4: try addMessage(content.bytes, in: package, file)
      case 5: try addEnum(content.bytes, in: package, file)
      case 6: try addParts([2], of: content.bytes, in: package, file)
      case 7: try addExtension(content.bytes, in: package, file)
      default: break
      }
    }
  }

  private mutating func addMessage(
    _ bytes: ArraySlice<UInt8>, in scope: String, _ file: Int
  ) throws(RPCError) {
    // Its fields and oneofs.
    let name = try addParts([2, 8], of: bytes, in: scope, file)
    messages.insert(name)
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      switch number {
      case 3: try addMessage(content.bytes, in: name, file)
      case 4: try addEnum(content.bytes, in: name, file)
      case 6: try addExtension(content.bytes, in: name, file)
      default: break
      }
    }
  }

  /// The values of an enum stand beside it, not in it.
  private mutating func addEnum(
    _ bytes: ArraySlice<UInt8>, in scope: String, _ file: Int
  ) throws(RPCError) {
    add(try Self.name(of: bytes), in: scope, file)
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      if number == 2 { add(try Self.name(of: content.bytes), in: scope, file) }
    }
  }

  private mutating func addExtension(
    _ bytes: ArraySlice<UInt8>, in scope: String, _ file: Int
  ) throws(RPCError) {
    add(try Self.name(of: bytes), in: scope, file)
    var extendee = ""
    var fieldNumber: Int32 = 0
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      // Type names begin with a dot when they are full, as protoc writes them.
      if number == 2 { extendee = String(content.string.trimmingPrefix(".")) }
      if number == 3 { fieldNumber = Int32(truncatingIfNeeded: content.number) }
    }
    filesByExtension[Extension(extendee: extendee, number: fieldNumber)] = file
    extensionNumbers[extendee, default: []].append(fieldNumber)
  }

  /// Adds a definition and the parts of it that have names of their own.
  ///
  /// - Parameter parts: the field numbers of these parts.
  /// - Returns: the full name of the definition.
  @discardableResult
  private mutating func addParts(
    _ parts: Set<Int>, of bytes: ArraySlice<UInt8>, in scope: String, _ file: Int
  ) throws(RPCError) -> String {
    let name = add(try Self.name(of: bytes), in: scope, file)
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      if parts.contains(number) { add(try Self.name(of: content.bytes), in: name, file) }
    }
    return name
  }

  @discardableResult
  private mutating func add(_ name: String, in scope: String, _ file: Int) -> String {
    let full = scope.isEmpty ? name : "\(scope).\(name)"
    filesBySymbol[full] = file
    return full
  }

  /// Every kind of definition has its name in field 1.
  private static func name(of bytes: ArraySlice<UInt8>) throws(RPCError) -> String {
    var fields = DescriptorReader(bytes)
    while let (number, content) = try fields.next() {
      if number == 1 { return content.string }
    }
    return ""
  }
}
