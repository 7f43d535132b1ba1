/// The content types of gRPC. Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Content-Type".
package enum ContentType {
  /// Whether a `content-type` is gRPC's: `application/grpc`, with a format after `+` and
  /// parameters after `;` as the peer likes.
  package static func isGRPC(_ value: Span<UInt8>) -> Bool {
    let base: StaticString = "application/grpc"
    if value.equals("application/grpc") { return true }
    guard value.count >= base.utf8CodeUnitCount else { return false }
    for index in 0..<base.utf8CodeUnitCount {
      // Media types are compared without regard to case: RFC 9110 section 8.3.1.
      var byte = value[index]
      if byte >= UInt8(ascii: "A"), byte <= UInt8(ascii: "Z") { byte |= 0x20 }
      guard unsafe byte == base.utf8Start[index] else { return false }
    }
    guard value.count > base.utf8CodeUnitCount else { return true }
    return switch value[base.utf8CodeUnitCount] {
    case UInt8(ascii: "+"), UInt8(ascii: ";"), UInt8(ascii: " "): true
    default: false
    }
  }
}
