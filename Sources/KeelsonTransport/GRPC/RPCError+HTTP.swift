package import KeelsonCore

extension RPCError.Code {
  /// What an HTTP status means for a call whose response carries no gRPC status.
  /// Source: grpc/grpc `doc/http-grpc-status-mapping.md`.
  package init(httpStatus: Int) {
    self =
      switch httpStatus {
      case 400: .internalError
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
  }

  /// What the error code of a RST_STREAM frame means for its call.
  /// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Errors"; RFC 9113 section 7.
  package init(http2ErrorCode: UInt32) {
    self =
      switch http2ErrorCode {
      case 0x7: .unavailable  // REFUSED_STREAM
      case 0x8: .cancelled  // CANCEL
      case 0xB: .resourceExhausted  // ENHANCE_YOUR_CALM
      case 0xC: .permissionDenied  // INADEQUATE_SECURITY
      default: .internalError
      }
  }

  /// Reads a `grpc-status` header; nil when it is no number.
  package init?(grpcStatus text: Span<UInt8>) {
    guard (1...9).contains(text.count) else { return nil }
    var value = 0
    for index in text.indices {
      let digit = text[index] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      value = value * 10 + Int(digit)
    }
    self.init(rawValue: value)
  }
}
