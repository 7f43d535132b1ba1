/// An HTTP/2 error code. Source: RFC 9113, section 7.
package struct HTTP2ErrorCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  package let rawValue: UInt32

  package init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  package static let noError = HTTP2ErrorCode(rawValue: 0x0)
  package static let protocolError = HTTP2ErrorCode(rawValue: 0x1)
  package static let internalError = HTTP2ErrorCode(rawValue: 0x2)
  package static let flowControlError = HTTP2ErrorCode(rawValue: 0x3)
  package static let settingsTimeout = HTTP2ErrorCode(rawValue: 0x4)
  package static let streamClosed = HTTP2ErrorCode(rawValue: 0x5)
  package static let refusedStream = HTTP2ErrorCode(rawValue: 0x7)
  package static let cancel = HTTP2ErrorCode(rawValue: 0x8)
  package static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 0xB)

  private static let names = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
    "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
    "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
  ]

  package var description: String {
    rawValue < Self.names.count ? Self.names[Int(rawValue)] : "ERROR_\(rawValue)"
  }
}

/// Why a connection has ended.
package struct HTTP2CloseReason: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// This side closed it, in order.
    case closedHere
    /// The peer closed it, in order or not.
    case closedByPeer
    /// The transport below broke.
    case transportFailed
    /// The peer broke the protocol, or a limit against floods.
    case peerMisbehaved
    /// The peer took too long: ``HTTP2Limits`` has the times.
    case timedOut
    /// Nothing was going on for as long as the limits allow.
    case idle
  }

  package let code: Code
  /// What happened, a sentence for the log.
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
