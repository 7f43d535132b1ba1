package import KeelsonCore

/// Turns custom metadata into header fields and back.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Custom-Metadata".
package enum MetadataCodec {
  /// How many entries received metadata may have. A header list within its limit has no more
  /// fields than that; commas in a `-bin` value could make many more of them.
  package static let maximumEntries = 512

  /// Adds a received header field to the metadata, unless the protocol itself uses its name.
  /// `user-agent` is kept, for whoever wants to know who calls.
  ///
  /// A `-bin` value may hold several, separated by commas; one that is no base64 is left out. So
  /// is text that is more than printable ASCII: HTTP allows it, and whoever echoed it could not
  /// send it.
  ///
  /// - Returns: false when there are more than ``maximumEntries``; the rest is left out.
  @discardableResult
  package static func add(
    name: Span<UInt8>, value: Span<UInt8>, to metadata: inout Metadata
  ) -> Bool {
    guard !isReserved(name) else { return true }
    guard metadata.entries.count < maximumEntries else { return false }
    let key = String(repairing: name)
    guard isBinary(name) else {
      guard isPrintable(value) else { return true }
      metadata.append(Metadata.Entry(name: key, value: .string(String(repairing: value))))
      return true
    }
    var start = 0
    for index in 0...value.count
    where index == value.count || value[index] == UInt8(ascii: ",") {
      var part = start..<index
      while let first = part.first, value[first] == UInt8(ascii: " ") { part.removeFirst() }
      while let last = part.last, value[last] == UInt8(ascii: " ") { part.removeLast() }
      if let bytes = Base64.decode(value.extracting(part)) {
        guard metadata.entries.count < maximumEntries else { return false }
        metadata.append(Metadata.Entry(name: key, value: .binary(bytes)))
      }
      start = index + 1
    }
    return true
  }

  /// Hands on each entry as a header field.
  ///
  /// - Throws: INTERNAL when a name or value cannot be sent: a name of the protocol's own, one
  ///   with characters that have no place in a name, bytes under a name without `-bin`, text
  ///   under one with it, text that is not printable ASCII.
  package static func encode(
    _ metadata: Metadata, field: (_ name: String, _ value: String) -> Void
  ) throws(RPCError) {
    for entry in metadata.entries {
      let name = entry.name.utf8.span
      guard isValidName(name) else {
        throw refused(entry, "names have lower case letters, digits, '-', '_' and '.'")
      }
      guard !isReserved(name), !name.equals("user-agent") else {
        throw refused(entry, "the protocol itself uses this name")
      }
      switch entry.value {
      case .string(let text):
        guard !isBinary(name) else {
          throw refused(entry, "a name that ends in -bin holds bytes, not text")
        }
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 <= 0x7E }) else {
          throw refused(entry, "text is printable ASCII; a name that ends in -bin holds any bytes")
        }
        field(entry.name, text)
      case .binary(let bytes):
        guard isBinary(name) else {
          throw refused(entry, "the name of a value made of bytes ends in -bin")
        }
        field(entry.name, String(decoding: Base64.encode(bytes.span), as: UTF8.self))
      }
    }
  }

  private static func refused(_ entry: Metadata.Entry, _ rule: String) -> RPCError {
    RPCError(.internalError, "The metadata \"\(entry.name)\" cannot be sent: \(rule).")
  }

  /// Whether a name belongs to HTTP/2 or to gRPC, not to the application.
  static func isReserved(_ name: Span<UInt8>) -> Bool {
    guard name.count > 0 else { return true }
    return switch name[0] {
    case UInt8(ascii: ":"): true
    case UInt8(ascii: "g"): name.starts(with: "grpc-")
    case UInt8(ascii: "t"):
      name.equals("te") || name.equals("trailer") || name.equals("transfer-encoding")
    case UInt8(ascii: "c"):
      name.equals("content-type") || name.equals("content-length") || name.equals("connection")
    case UInt8(ascii: "h"): name.equals("host")
    case UInt8(ascii: "k"): name.equals("keep-alive")
    case UInt8(ascii: "p"): name.equals("proxy-connection")
    case UInt8(ascii: "u"): name.equals("upgrade")
    default: false
    }
  }

  private static func isBinary(_ name: Span<UInt8>) -> Bool {
    name.count > 4 && name.extracting(last: 4).equals("-bin")
  }

  private static func isPrintable(_ value: Span<UInt8>) -> Bool {
    for index in value.indices where value[index] < 0x20 || value[index] > 0x7E { return false }
    return true
  }

  private static func isValidName(_ name: Span<UInt8>) -> Bool {
    for index in name.indices {
      switch name[index] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        continue
      default: return false
      }
    }
    return name.count > 0
  }
}
